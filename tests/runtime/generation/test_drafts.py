"""Drafts change the number of steps, never the text."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import GeneratedSequence

CELLS = 12


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder()


def run(
    decoder: TinyDecoder,
    generation: Generation,
    drafter: Drafter | None,
    rows: int = 1,
    slack: int = 32,
) -> list[GeneratedSequence]:
    prompts = decoder.runner()
    vectors = [random_vectors(seed, count=2 + seed % 4) for seed in range(CELLS)]
    search = GreedySearch(
        decoder.engine,
        prompts,
        generation=generation,
        rows=rows,
        capacity=len(decoder.prompts.of_vectors(vectors[3])) + generation.max_new_tokens + slack,
        drafter=drafter,
    )
    found = dict(search.run(decoder.cells(vectors)))
    return [found[i] for i in range(CELLS)]


def texts(results: list[GeneratedSequence]) -> list[tuple[int, ...]]:
    return [result.token_ids for result in results]


@pytest.mark.parametrize("ngram", [0, 2, 3])
@pytest.mark.parametrize(("rows", "slack"), [(1, 32), (5, 32), (5, 0)])
def test_same_text_in_fewer_steps(decoder: TinyDecoder, ngram: int, rows: int, slack: int) -> None:
    generation = Generation(max_new_tokens=30, no_repeat_ngram_size=ngram, eos_token_ids=(4, 8, 15))
    plain = run(decoder, generation, None)
    table = build_phrase_table([list(text) for text in texts(plain)] * 5)
    drafted = run(decoder, generation, Drafter(table), rows, slack)
    assert texts(drafted) == texts(plain)
    for one, other in zip(plain, drafted, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-3, atol=1e-6)
        assert one.steps == len(one.token_ids)
    written = sum(len(text) for text in texts(plain))
    assert sum(r.steps for r in drafted) * 2 < written


@pytest.mark.parametrize("rows", [1, 4])
def test_a_wrong_table_changes_nothing(decoder: TinyDecoder, rows: int) -> None:
    generation = Generation(max_new_tokens=30, no_repeat_ngram_size=3, eos_token_ids=(4, 8, 15))
    plain = run(decoder, generation, None)
    generator = np.random.default_rng(0)
    lies = [generator.integers(0, 97, 40).tolist() for _ in range(200)]
    # Truth and lies mixed: some drafts are right for a while, then wrong.
    mixed = [
        [*text[:k], *lie] for k, (text, lie) in enumerate(zip(texts(plain), lies, strict=False))
    ]
    for table in (lies, mixed * 3):
        drafted = run(decoder, generation, Drafter(build_phrase_table(table)), rows)
        assert texts(drafted) == texts(plain)


def test_the_end_token_may_be_drafted(decoder: TinyDecoder) -> None:
    generation = Generation(
        max_new_tokens=40, no_repeat_ngram_size=3, eos_token_ids=tuple(range(20))
    )
    plain = run(decoder, generation, None)
    assert any(len(text) < 40 for text in texts(plain))
    table = build_phrase_table([[*text, 50, 51] for text in texts(plain)] * 5)
    assert texts(run(decoder, generation, Drafter(table), 3)) == texts(plain)


def test_an_empty_table_costs_nothing(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=9)
    results = run(decoder, generation, Drafter(build_phrase_table([])))
    assert [r.steps for r in results] == [9] * CELLS
