"""The best candidates are those of a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from tolerance import FLOAT32

from c2t.runtime.generation.top_candidates import log_softmax_in_place, top_candidates


@pytest.mark.parametrize("shape", [(1, 5), (4, 97), (4, 3000), (3, 20_011), (4, 128_256)])
@pytest.mark.parametrize("ties", [False, True])
def test_as_a_full_sort(shape: tuple[int, int], ties: bool) -> None:
    generator = np.random.default_rng(0)
    scores = generator.standard_normal(shape).astype(np.float32)
    if ties:
        scores = np.round(scores * 2)
    count = min(8, scores.size)
    value, row, column = top_candidates(scores, count)
    order = np.argsort(-scores.reshape(-1), kind="stable")[:count]
    np.testing.assert_array_equal(row * shape[1] + column, order)
    np.testing.assert_array_equal(value, scores.reshape(-1)[order])


def test_banned_rows() -> None:
    scores = np.full((2, 4000), -np.inf, np.float32)
    scores[1, 3999] = 1
    value, row, column = top_candidates(scores, 3)
    assert (row[0], column[0], value[0]) == (1, 3999, 1)
    assert np.isneginf(value[1:]).all()


def test_log_softmax() -> None:
    logits = np.random.default_rng(1).standard_normal((3, 1000)).astype(np.float32) * 20
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    log_softmax_in_place(logits)
    np.testing.assert_allclose(logits, exact, atol=FLOAT32)
