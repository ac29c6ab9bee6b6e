import numpy as np
import pytest

from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions

OPTIONS = BootstrapOptions(resamples=500, seed=3)


def test_a_constant_has_no_spread():
    found = Bootstrap(40, OPTIONS).mean(np.full(40, 0.25))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_every_resample_draws_as_many_cells_as_there_are():
    weights = Bootstrap(17, OPTIONS).weights
    assert weights.shape == (500, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert np.array_equal(weights, Bootstrap(17, OPTIONS).weights)
    assert not np.array_equal(weights, Bootstrap(17, BootstrapOptions(resamples=500)).weights)


def test_interval_of_a_share_is_near_the_binomial_one():
    right = np.repeat([1.0, 0.0], [300, 100])
    found = Bootstrap(400, BootstrapOptions(resamples=4000)).mean(right)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)


def test_cells_without_the_figure_do_not_count():
    bootstrap = Bootstrap(4, OPTIONS)
    assert bootstrap.mean(np.array([1.0, np.nan, 0.0, np.nan])).value == 0.5
    # Resamples that drew only such cells have no figure, and do not spoil the interval.
    found = bootstrap.mean(np.array([1.0, np.nan, np.nan, np.nan]))
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_group_sums_are_those_of_the_drawn_cells():
    bootstrap = Bootstrap(5, OPTIONS)
    sums = bootstrap.sums([0, 1, None, 1, 0], 3)
    w = bootstrap.weights
    assert np.array_equal(sums[:, 0], w[:, 0] + w[:, 4])
    assert np.array_equal(sums[:, 1], w[:, 1] + w[:, 3])
    assert not sums[:, 2].any()
