"""Cells of equal length share a batch, within bounds; unusable tokens are named."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.describe.cell_vectors import TokenLimits, check_tokens, equal_lengths


def groups(lengths: list[int], most: int = 8) -> list[list[int]]:
    return equal_lengths([np.ones(n, np.int32) for n in lengths], most)


def test_equal_lengths_share_a_batch_in_the_order_of_the_first() -> None:
    assert groups([5, 7, 5, 7, 9]) == [[0, 2], [1, 3], [4]]


def test_no_more_than_asked_for() -> None:
    assert groups([5] * 5, most=2) == [[0, 1], [2, 3], [4]]


def test_no_more_than_the_encoder_can_hold() -> None:
    assert groups([256] * 5) == [[0, 1], [2, 3], [4]]
    assert groups([2048] * 2) == [[0], [1]]


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ([], "no gene tokens"),
        ([1] * 9, "9 gene tokens; the encoder takes 8"),
        ([1, 50], "50 is not among the encoder's 50"),
        ([-3, 2], "-3 is not among"),
    ],
)
def test_unusable_tokens(tokens: list[int], problem: str) -> None:
    found = check_tokens(np.array(tokens, np.int32), TokenLimits(vocabulary=50, longest=8))
    assert problem in found


def test_usable_tokens() -> None:
    assert check_tokens(np.array([0, 49], np.int32), TokenLimits(vocabulary=50, longest=8)) is None
