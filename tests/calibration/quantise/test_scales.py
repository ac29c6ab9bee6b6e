"""Scales and integers, written out."""

from types import SimpleNamespace

import numpy as np
import pytest

from c2t.calibration.quantise.scales import (
    LEAST_SCALE,
    Estimator,
    channel_scales,
    fake_quantise,
    quantise,
    scale_of,
    threshold,
)
from c2t.calibration.ranges.activation_statistics import BINS, ChannelStatistics, Histogram
from c2t.calibration.ranges.tapped_graph import Tap


def test_a_matrix_by_hand():
    matrix = np.array([[1.27, 0, -2.54, 0.5], [-0.635, 0, 1.0, 1.0]], np.float32)
    scales = channel_scales(matrix)
    assert scales == pytest.approx([0.01, 1.0, 0.02, 1 / 127])  # the channel of zeros keeps 1
    assert scales.dtype == np.float32
    assert quantise(matrix, scales).tolist() == [[127, 0, -127, 64], [-64, 0, 50, 127]]


def test_values_beyond_the_threshold_saturate():
    values = np.array([-9, -1, -0.004, 0.004, 0.006, 1, 9], np.float32)
    assert quantise(values, scale_of(1.27)).tolist() == [-127, -100, 0, 0, 1, 100, 127]
    assert fake_quantise(values, np.float32(0.5)).tolist() == [-9, -1, 0, 0, 0, 1, 9]


def test_nothing_but_zeros_gives_a_usable_scale():
    assert scale_of(0.0) == np.float32(LEAST_SCALE) > 0
    histogram = Histogram(0.0)
    histogram.add(np.zeros((3, 4), np.float32))
    for estimator in Estimator:
        assert threshold(histogram, estimator) == 0.0


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(values.astype(np.float32))
    return histogram


def test_the_largest_is_the_threshold_of_max():
    assert threshold(histogram_of(np.array([[-3.0, 1.0]])), Estimator.max) == 3.0


@pytest.mark.parametrize("estimator", [Estimator.percentile, Estimator.mse, Estimator.entropy])
def test_a_lone_outlier_is_clipped(estimator):
    values = np.random.default_rng(0).standard_normal((200, 500))
    values[0, 0] = 60
    found = threshold(histogram_of(values), estimator)
    # Its squared error weighs as much as the rounding of a thousand others.
    assert 2 < found < (40 if estimator is Estimator.mse else 20)


def test_mse_threshold_is_the_best_of_a_search():
    values = np.random.default_rng(1).laplace(size=(100, 400)).astype(np.float32)
    histogram = histogram_of(values)

    def error(limit: float) -> float:
        return float(np.square(fake_quantise(values, scale_of(limit)) - values).mean())

    best = min(error(limit) for limit in np.linspace(0.1, 1, 60) * histogram.largest)
    assert error(threshold(histogram, Estimator.mse)) < 1.02 * best


def test_many_zeros_do_not_shrink_the_entropy_threshold():
    values = np.random.default_rng(2).standard_normal((100, 400))
    sparse = np.where(np.random.default_rng(3).random(values.shape) < 0.95, 0, values)
    assert threshold(histogram_of(sparse), Estimator.entropy) > 2


def test_histogram_counts_smoothed_magnitudes():
    histogram = Histogram(2.0, np.array([0.5, 1.0], np.float32))
    histogram.add(np.array([[4.0, -1.0], [0.0, 2.5]], np.float32))
    assert histogram.counts.sum() == 4
    assert histogram.counts[[0, BINS // 2, BINS - 1]].tolist() == [1, 1, 2]  # 2.5 by rounding


def test_channel_statistics_keep_a_bounded_sample():
    statistics = ChannelStatistics(SimpleNamespace(inputs=2), keep=8)
    for number in range(50):
        rows = np.full((3, 2), number, np.float32)
        statistics.add(Tap(largest=np.array([number, -0.0], np.float32), rows=rows))
    assert statistics.largest.tolist() == [49, 0]
    assert statistics.rows.shape == (8, 2)
    assert statistics.rows.max() > 10  # not only the first ones
