"""SmoothQuant's factors: what they do to outliers, and what shares a factor."""

import numpy as np
import pytest

from c2t.calibration.quantise.smoothing import Fold, column_factors, search_smoothing

FOLD = Fold(tensors=("w",), columns=slice(0, 64))


def rows_with_outliers(channels: int = 64) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((60, channels)).astype(np.float32)
    rows[:, 3] *= 80
    return rows


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)


def test_an_outlier_channel_moves_into_the_weight(matrix):
    rows = rows_with_outliers()
    found = search_smoothing(matrix, np.abs(rows).max(axis=0), rows, FOLD)
    assert found.strength > 0
    assert found.error < 0.2 * found.error_before
    assert found.factors[3] == found.factors.max()
    assert found.factors.dtype == np.float32
    assert np.exp(np.log(found.factors).mean()) == pytest.approx(1, rel=1e-3)


def test_nowhere_to_fold_searches_nothing(matrix):
    rows = rows_with_outliers()
    found = search_smoothing(matrix, np.abs(rows).max(axis=0), rows, None)
    assert found.strength == 0
    assert (found.factors == 1).all()
    assert found.error == found.error_before > 0


def test_even_channels_are_left_alone():
    rows = np.ones((60, 64), np.float32)
    matrix = np.eye(64, dtype=np.float32)
    found = search_smoothing(matrix, np.ones(64, np.float32), rows, FOLD)
    assert found.strength == 0


def test_channels_that_nothing_reaches(matrix):
    rows = rows_with_outliers()
    rows[:, 5], matrix[7] = 0, 0
    found = search_smoothing(matrix, np.abs(rows).max(axis=0), rows, FOLD)
    assert np.isfinite(found.factors).all()
    assert found.factors[5] == pytest.approx(found.factors[7])


def test_heads_of_a_group_share_a_factor(matrix):
    """64 inputs from 4 groups of 2 heads, each 8 wide: 32 value columns make them."""
    rows = rows_with_outliers()
    fold = Fold(tensors=("w",), columns=slice(0, 32), group=2, head_size=8)
    found = search_smoothing(matrix, np.abs(rows).max(axis=0), rows, fold)
    heads = found.factors.reshape(4, 2, 8)
    assert (heads[:, 0] == heads[:, 1]).all()
    assert found.factors[3] == found.factors[11] == found.factors.max()
    assert column_factors(fold, found.factors).tolist() == heads[:, 0].ravel().tolist()
