"""Beam search gives the tokens of Hugging Face `generate`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder
from tolerance import PROBABILITY

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.generation.beam_search import BeamSearch, BeamState
from c2t.runtime.generation.sequence import GeneratedSequence


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder("unsure")


def run(decoder: TinyDecoder, vectors: np.ndarray, generation: Generation) -> GeneratedSequence:
    prompts = decoder.runner()
    capacity = len(decoder.prompts.of_vectors(vectors)) + generation.max_new_tokens
    search = BeamSearch(decoder.engine, prompts, generation=generation, capacity=capacity)
    ((_, result),) = search.run(decoder.cells([vectors]))
    return result


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 2.0, -1.0])
@pytest.mark.parametrize("ngram", [0, 2])
def test_tokens_of_generate(
    decoder: TinyDecoder,
    beams: int,
    early_stopping: bool | Literal["never"],
    length_penalty: float,
    ngram: int,
) -> None:
    generation = Generation(
        max_new_tokens=14,
        num_beams=beams,
        no_repeat_ngram_size=ngram,
        early_stopping=early_stopping,
        length_penalty=length_penalty,
        eos_token_ids=(4, 8, 15),
    )
    for seed in range(4):
        expected = decoder.reference(seed, generation)
        result = run(decoder, random_vectors(seed), generation)
        assert list(result.token_ids) == expected, f"seed {seed}"
        assert len(result.probabilities) == len(expected)


def test_probabilities_along_the_chosen_beam(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=12, num_beams=3, eos_token_ids=(4,))
    result = run(decoder, random_vectors(11), generation)
    assert list(result.token_ids) == decoder.reference(11, generation)
    expected = decoder.probabilities(11, generation)
    np.testing.assert_allclose(result.probabilities, expected, rtol=PROBABILITY)


@pytest.mark.parametrize(
    ("early_stopping", "expected"), [(True, (0,)), (False, (0,)), ("never", (1, 1, 1, 1, 0))]
)
def test_patience_finds_a_longer_text(
    early_stopping: bool | Literal["never"], expected: tuple[int, ...]
) -> None:
    """Two texts have ended after two steps. Another is worse then, and better once it has grown."""
    generation = Generation(
        max_new_tokens=8, num_beams=2, early_stopping=early_stopping, eos_token_ids=(0,)
    )
    likely = [[0.45, 0.3, 0.2, 0.05], [0.62, 0.36, 0.01, 0.01], *[[0.01, 0.97, 0.01, 0.01]] * 2]
    likely += [[0.97, 0.01, 0.01, 0.01]] * 4
    state = BeamState(generation)
    for probabilities in likely:
        if state.advance(np.log(np.array([probabilities] * 2, dtype=np.float32))) is None:
            break
    assert state.best()[0] == expected
