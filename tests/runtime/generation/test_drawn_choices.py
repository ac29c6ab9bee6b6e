"""Drawn texts depend on seed and name alone: not on rows, drafts, or who is written beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.drawn_choices import (
    DrawnChoices,
    Situation,
    choose_token,
    draw,
    random_number,
)
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import (
    FixedCells,
    GeneratedSequence,
    GenerationFailure,
    PromptedCell,
)
from c2t.runtime.generation.shaped_logits import kept_tokens

DRAWN = Generation(max_new_tokens=20, temperature=1.5, top_p=0.95, seed=3, eos_token_ids=(4, 8, 15))
NOTHING = np.empty(0, np.int64)


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder("unsure")


def write(
    decoder: TinyDecoder,
    generation: Generation,
    *,
    rows: int = 1,
    drafter: Drafter | None = None,
    seeds: range = range(10),
) -> list[GeneratedSequence]:
    search = GreedySearch(
        decoder.engine,
        decoder.runner(),
        generation=generation,
        rows=rows,
        capacity=80,
        drafter=drafter,
    )
    cells = (
        PromptedCell(seed, decoder.prompts.of_vectors(random_vectors(seed)), f"cell {seed}")
        for seed in seeds
    )
    found = dict(search.run(FixedCells(cells)))
    return [found[seed] for seed in seeds]


def tokens(texts: list[GeneratedSequence]) -> list[tuple[int, ...]]:
    return [text.token_ids for text in texts]


@pytest.mark.parametrize("rows", [2, 4, 7])
def test_neighbours_change_nothing(decoder: TinyDecoder, rows: int) -> None:
    alone = tokens(write(decoder, DRAWN))
    assert tokens(write(decoder, DRAWN, rows=rows)) == alone
    assert tokens(write(decoder, DRAWN, seeds=range(3, 6))) == alone[3:6]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("rows", [1, 3])
def test_drafts_change_nothing(decoder: TinyDecoder, rows: int, penalty: float) -> None:
    generation = replace(DRAWN, repetition_penalty=penalty, no_repeat_ngram_size=3)
    plain = write(decoder, generation)
    # A table of what will be drawn: most drafts are right.
    drafter = Drafter(build_phrase_table(tokens(plain)))
    drafted = write(decoder, generation, rows=rows, drafter=drafter)
    assert tokens(drafted) == tokens(plain)
    assert sum(text.steps for text in drafted) < sum(text.steps for text in plain)
    for ours, theirs in zip(drafted, plain, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-4)


def test_drafts_change_nothing_with_a_penalty_alone(decoder: TinyDecoder) -> None:
    generation = Generation(max_new_tokens=20, repetition_penalty=1.4)
    plain = write(decoder, generation)
    drafter = Drafter(build_phrase_table(tokens(plain)))
    drafted = write(decoder, generation, drafter=drafter)
    assert tokens(drafted) == tokens(plain)
    assert sum(text.steps for text in drafted) < sum(text.steps for text in plain)


def test_seeds_and_names_change_texts(decoder: TinyDecoder) -> None:
    texts = tokens(write(decoder, DRAWN))
    other = tokens(write(decoder, replace(DRAWN, seed=4)))
    assert sum(a != b for a, b in zip(texts, other, strict=True)) > 5
    assert tokens(write(decoder, DRAWN)) == texts


def test_a_low_temperature_is_greedy(decoder: TinyDecoder) -> None:
    cold = replace(DRAWN, temperature=1e-300)
    assert tokens(write(decoder, cold)) == tokens(write(decoder, replace(DRAWN, temperature=0.0)))


def test_probabilities_are_the_models_own(decoder: TinyDecoder) -> None:
    """As greedy texts have them, where greedy chooses the same tokens."""
    plain = Generation(max_new_tokens=20)
    cold = replace(plain, temperature=1e-300)
    for ours, theirs in zip(write(decoder, cold), write(decoder, plain), strict=True):
        assert ours.token_ids == theirs.token_ids
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-5)


def test_a_cell_whose_logits_are_not_finite_fails_alone(decoder: TinyDecoder) -> None:
    good = random_vectors(1)
    both = enumerate((good, np.full_like(good, np.nan)))
    cells = [PromptedCell(key, decoder.prompts.of_vectors(v), "a") for key, v in both]
    search = GreedySearch(
        decoder.engine,
        decoder.runner(),
        generation=DRAWN,
        rows=2,
        capacity=80,
    )
    found = dict(search.run(FixedCells(cells)))
    assert isinstance(found[0], GeneratedSequence)
    assert isinstance(found[1], GenerationFailure)


def test_numbers_are_the_bits_of_a_hash() -> None:
    # printf '7\n0\nAAACATACAACCAC-1' | sha256sum
    assert random_number(7, "AAACATACAACCAC-1", 0) == 0.8872447381792878
    numbers = [random_number(1, "cell", place) for place in range(4000)]
    assert 0 <= min(numbers) < max(numbers) < 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 400).max() < 80
    assert random_number(1, "\udc80", 0) != random_number(1, "?", 0)


def test_what_is_drawn_has_its_share() -> None:
    ids, shares = np.array([3, 5, 9]), np.array([0.25, 0.0, 0.75])
    grid = (np.arange(1000) + 0.5) / 1000
    drawn = [draw(ids, shares, number) for number in grid]
    assert drawn == [3] * 250 + [9] * 750
    assert draw(ids, shares, 0.0) == 3


def test_equals_of_the_last_of_top_k_are_kept() -> None:
    scores = np.array([1, 3, 2, 2, 0], np.float32)
    kept, shares = kept_tokens(scores, temperature=1.0, top_k=2, top_p=1.0)
    assert kept.tolist() == [1, 2, 3]
    np.testing.assert_allclose(shares, np.exp([3, 2, 2]) / np.exp([3, 2, 2]).sum())


def test_of_equals_top_p_keeps_the_smaller_ids() -> None:
    kept, shares = kept_tokens(np.zeros(8, np.float32), temperature=1.0, top_k=0, top_p=0.5)
    assert kept.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(shares, 0.25)
    kept, _ = kept_tokens(np.zeros(8, np.float32), temperature=1.0, top_k=0, top_p=1e-9)
    assert kept.tolist() == [0]


@pytest.mark.parametrize("top_p", [1e-17, 5e-324])
def test_the_least_top_p_keeps_the_most_probable(top_p: float) -> None:
    """1 - top_p is 1 then, which no share is above."""
    scores = np.array([1, 3, 2], np.float32)
    for top_k in (0, 1):
        tokens, shares = kept_tokens(scores, temperature=1.0, top_k=top_k, top_p=top_p)
        assert (tokens.tolist(), shares.tolist()) == ([1], [1.0])
    tokens, _ = kept_tokens(np.zeros(3, np.float32), temperature=1.0, top_k=0, top_p=top_p)
    assert tokens.tolist() == [0]


def test_a_banned_token_is_neither_chosen_nor_drawn() -> None:
    logits = np.array([5, 4, 3], np.float32)
    for temperature in (0.0, 1.0):
        settings = Generation(temperature=temperature, repetition_penalty=1.1)
        for place in range(50):
            situation = Situation("x", place, np.array([1]), banned=(0,))
            assert choose_token(logits, situation, settings) in (1, 2)
    assert logits.tolist() == [5, 4, 3]


def test_the_penalty_divides_positive_logits_and_multiplies_negative_ones() -> None:
    settings = Generation(repetition_penalty=2.0)
    positive = np.array([3.0, 1.6], np.float32)
    assert choose_token(positive, Situation("", 0, NOTHING), settings) == 0
    assert choose_token(positive, Situation("", 0, np.array([0, 0])), settings) == 1
    negative = np.array([-1.0, -1.9], np.float32)
    assert choose_token(negative, Situation("", 0, np.array([0])), settings) == 1
    choices = DrawnChoices(negative[None, None], [[Situation("", 0, np.array([0]))]], settings)
    (share,) = choices.probabilities(np.array([0]), np.array([0]))
    assert share == pytest.approx(1 / (1 + np.exp(0.9)))
