"""From ranges to scales: symmetric int8, per tensor for activations, per channel for weights.

One decision: an estimator maps a histogram of magnitudes to a threshold; larger magnitudes are
clipped. The scale is threshold / 127, so the zero point is 0 and the code -128 is not used.
ONNX Runtime's calibrators are not used: they keep every activation of a run, so their memory grows
with the cells, and they support neither smoothing nor graphs whose caches are inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.ranges.activation_statistics import BINS, Histogram
from c2t.calibration.ranges.linears import Float32

LEVELS = 127
PERCENTILE = 99.99
# Thresholds that mse and entropy try, in bins: from 1/16 of the range to all of it.
CANDIDATES = np.unique(np.geomspace(BINS // 16, BINS, 96).astype(int))
# A smaller scale times a weight's scale could underflow. An input that is always 0 gets it too.
LEAST_SCALE = float(np.finfo(np.float32).tiny) * 2**20

# Probability of a bin that only the clipped tail fills: with 0 the divergence would be infinite.
PROBABILITY_MIN = 1e-12

Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
_Cost = Callable[[Float64, int], float]


def threshold(histogram: Histogram, estimator: Estimator) -> float:
    """The magnitude above which an activation is clipped."""
    counts = histogram.counts.astype(np.float64)
    if estimator is Estimator.entropy:
        # A ReLU's zeros need no level of their own, and would outweigh all other values.
        counts[0] = min(counts[0], counts[1])
    if histogram.largest <= 0 or not counts.sum():
        return 0.0
    if estimator is Estimator.percentile:
        shares = np.cumsum(counts) / counts.sum()
        bins = int(np.searchsorted(shares, PERCENTILE / 100)) + 1
    elif estimator is Estimator.mse:
        bins = _least(counts, _squared_error)
    elif estimator is Estimator.entropy:
        bins = _least(counts, _divergence)
    else:
        bins = BINS
    return histogram.largest * min(bins, BINS) / BINS


def scale_of(limit: float) -> np.float32:
    """The scale that maps `limit` to 127."""
    return np.float32(max(limit / LEVELS, LEAST_SCALE))


def channel_scales(matrix: Float32) -> Float32:
    """Scales [N] of a weight [K, N]: the largest magnitude of each output channel over 127."""
    largest = np.abs(matrix).max(axis=0, initial=0.0)
    # A channel of zeros stays zero whatever its scale; 1 keeps it from dividing by zero.
    scales: Float32 = np.where(largest > 0, np.maximum(largest / LEVELS, LEAST_SCALE), 1.0).astype(
        np.float32
    )
    return scales


def quantise(values: Float32, scale: Float32 | np.float32) -> Int8:
    """Round to the nearest int8 step, ties to even, as `QuantizeLinear` does; clip to +-127."""
    levels: Int8 = np.clip(np.rint(values / scale), -LEVELS, LEVELS).astype(np.int8)
    return levels


def fake_quantise(values: Float32, scale: Float32 | np.float32) -> Float32:
    """Values after quantising and dequantising them."""
    result: Float32 = quantise(values, scale) * np.float32(1) * scale
    return result


def _least(counts: Float64, cost: _Cost) -> int:
    costs = [cost(counts, int(bins)) for bins in CANDIDATES]
    return int(CANDIDATES[int(np.argmin(costs))])


def _squared_error(counts: Float64, bins: int) -> float:
    """Sum of squared errors, in squared bin widths, of rounding below `bins` and clipping above."""
    centres = np.arange(BINS) + 0.5
    step = bins / LEVELS
    # A step spans many bins, so its rounding error is uniform; below half a step, values become 0.
    rounded = np.where(centres < step / 2, centres**2, step**2 / 12)
    error = np.where(centres <= bins, rounded, (centres - bins) ** 2)
    return float(counts @ error)


def _divergence(counts: Float64, bins: int) -> float:
    """KL(clipped || quantised) of the magnitudes' distribution, in nats.

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017. The clipped tail counts in the
    last bin of the first distribution only, so clipping more costs more.
    """
    kept = counts[:bins]
    clipped = kept.copy()
    clipped[-1] += counts[bins:].sum()
    level = np.minimum((np.arange(bins) * (LEVELS + 1)) // bins, LEVELS)
    filled = kept > 0
    members = np.bincount(level, weights=filled, minlength=LEVELS + 1)
    sums = np.bincount(level, weights=kept, minlength=LEVELS + 1)
    spread = np.where(filled, (sums / np.maximum(members, 1))[level], 0.0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1.0)
    present = p > 0
    return float((p[present] * np.log(p[present] / np.maximum(q[present], PROBABILITY_MIN))).sum())
