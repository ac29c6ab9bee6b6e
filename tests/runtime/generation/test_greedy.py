"""Greedy search gives the tokens of Hugging Face `generate`, whatever runs beside a cell."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder
from tolerance import PROBABILITY

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.sequence import (
    GeneratedSequence,
    GenerationFailure,
)


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder()


def run(
    decoder: TinyDecoder, vectors: list[np.ndarray], generation: Generation, rows: int = 1
) -> list[GeneratedSequence]:
    prompts = decoder.runner()
    longest = max(len(decoder.prompts.of_vectors(v)) for v in vectors)
    search = GreedySearch(
        decoder.engine,
        prompts,
        generation=generation,
        rows=rows,
        capacity=longest + generation.max_new_tokens,
    )
    found = dict(search.run(decoder.cells(vectors)))
    return [found[i] for i in range(len(vectors))]


@pytest.mark.parametrize("ngram", [0, 1, 2, 3])
def test_tokens_of_generate(decoder: TinyDecoder, ngram: int) -> None:
    generation = Generation(
        max_new_tokens=24, no_repeat_ngram_size=ngram, eos_token_ids=tuple(range(4, 16))
    )
    lengths = set()
    for seed in range(10):
        expected = decoder.reference(seed, generation)
        (result,) = run(decoder, [random_vectors(seed)], generation)
        assert list(result.token_ids) == expected, f"seed {seed}"
        lengths.add(len(expected))
    assert len(lengths) > 2


def test_no_end_token(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=12)
    (result,) = run(decoder, [random_vectors(3)], generation)
    assert list(result.token_ids) == decoder.reference(3, generation)
    assert len(result.token_ids) == 12


def test_probabilities_are_the_models_own_before_the_ban(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=20, no_repeat_ngram_size=1)
    (result,) = run(decoder, [random_vectors(5)], generation)
    assert list(result.token_ids) == decoder.reference(5, generation)
    expected = decoder.probabilities(5, generation)
    np.testing.assert_allclose(result.probabilities, expected, rtol=PROBABILITY)


@pytest.mark.parametrize("rows", [2, 3, 7])
def test_neighbours_change_nothing(decoder: TinyDecoder, rows: int) -> None:
    generation = Generation(max_new_tokens=25, no_repeat_ngram_size=3, eos_token_ids=(4, 8, 15, 16))
    vectors = [random_vectors(seed, count=1 + seed % 5) for seed in range(20)]
    alone = run(decoder, vectors, generation)
    together = run(decoder, vectors, generation, rows=rows)
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]
    assert [r.steps for r in together] == [len(r.token_ids) for r in alone]


def test_a_cache_that_grows_changes_nothing(
    decoder: TinyDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = Generation(max_new_tokens=40, no_repeat_ngram_size=3, eos_token_ids=(4, 8, 15, 16))
    vectors = [random_vectors(seed, count=1 + 17 * seed % 150) for seed in range(20)]
    made: list[int] = []
    allocate = OnnxRuntimeCache._allocate

    def counted(cache: OnnxRuntimeCache, positions: int) -> np.ndarray:
        made.append(positions)
        return allocate(cache, positions)

    monkeypatch.setattr(OnnxRuntimeCache, "_allocate", counted)
    grown = run(decoder, vectors, generation, rows=3)
    assert made[-3:] == [64, 128, 192]
    monkeypatch.setattr("c2t.runtime.engines.cpu.decoder.GROWTHS", 1)
    assert run(decoder, vectors, generation, rows=3) == grown
    assert made[-2:] == [0, 192]


def test_a_cell_with_nan_vectors_fails_alone(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=10, eos_token_ids=(4,))
    good = random_vectors(1)
    bad = np.full_like(good, np.nan)
    results = run(decoder, [good, bad, good, bad, good], generation, rows=2)
    assert [isinstance(r, GenerationFailure) for r in results] == [False, True, False, True, False]
    assert results[0] == results[2] == results[4]
