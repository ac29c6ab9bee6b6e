"""Choices from logits on the host: ties, bans, numbers that are none, probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import FLOAT32_FEW

from c2t.runtime.engines.cpu.logit_choices import LogitChoices


def choose(logits: list[float], banned: tuple[int, ...] = ()) -> LogitChoices:
    array = np.array(logits, np.float32)[None, None]
    return LogitChoices(array).choose(np.array(banned, np.int32).reshape(1, 1, -1))


@pytest.mark.parametrize(
    ("logits", "banned", "token"),
    [
        ([1, 3, 3, 2], (), 1),  # the smaller id of equal ones
        ([1, 3, 3, 2], (1,), 2),
        ([1, 3, 3, 2], (2, 1, -1), 3),
        ([1, 3, 3, 2], (3, -1, -1), 1),  # a ban of another token
        ([1, 3], (0, 1), 0),  # nothing is left
    ],
)
def test_the_best_that_is_not_banned(
    logits: list[float], banned: tuple[int, ...], token: int
) -> None:
    choices = choose(logits, banned)
    assert choices.tokens.tolist() == [[token]]
    assert choices.finite.all()


def test_probabilities_are_those_before_the_ban() -> None:
    logits = np.array([0.5, 2, -1, 1.5], np.float32)
    softmax = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    found = choose(logits.tolist(), (1,)).probabilities(np.array([0]), np.array([0]))
    np.testing.assert_allclose(found, softmax[[3]], rtol=FLOAT32_FEW)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    logits = np.zeros((1, 3, 4), np.float32)
    logits[0, 1, 2] = bad
    choices = LogitChoices(logits).choose(np.empty((1, 3, 0), np.int32))
    assert choices.finite.tolist() == [[True, False, True]]


def test_only_the_named_places_are_computed() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 3, 50), dtype=np.float32)
    before = logits.astype(float)
    choices = LogitChoices(logits).choose(np.empty((2, 3, 0), np.int32))
    found = choices.probabilities(np.array([1, 0]), np.array([2, 1]))
    softmax = np.exp(before) / np.exp(before).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(found, [softmax[1, 2].max(), softmax[0, 1].max()], rtol=FLOAT32_FEW)
    np.testing.assert_array_equal(logits, before)  # all the rest is as it was
