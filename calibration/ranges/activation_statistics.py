"""Statistics of linears' inputs over many cells, in memory that does not grow with the cells.

Two passes. The first keeps, for each linear, the largest magnitude of each channel over all rows,
and a sample of rows. Smoothing is then decided, so the range of each smoothed input is known. The
second pass fills a histogram with fixed bins over exactly that range.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from c2t.calibration.ranges.linears import Float32, Linear
from c2t.calibration.ranges.tapped_graph import Tap

KEPT_ROWS = 256
BINS = 4096


class ChannelStatistics:
    """Largest magnitude of each channel, and a sample of rows, of one linear's input.

    Args:
        keep: Most rows to keep.
        seed: Seed of the choice of rows.
    """

    def __init__(self, linear: Linear, *, keep: int = KEPT_ROWS, seed: int = 0) -> None:
        self.prefix_largest: Float32 = np.zeros(linear.inputs, np.float32)  # [K]
        self.cells_largest: Float32 = np.zeros(linear.inputs, np.float32)  # [K]
        self._rows: Float32 = np.zeros((keep, linear.inputs), np.float32)
        self._of_prefix = np.zeros(keep, bool)
        self._seen = 0
        self._random = np.random.default_rng(seed)

    @property
    def largest(self) -> Float32:
        """Largest magnitude [K] of each channel."""
        return np.maximum(self.prefix_largest, self.cells_largest)

    @property
    def rows(self) -> Float32:
        """The kept rows [n, K], a uniform random sample of all rows so far."""
        return self._rows[: min(self._seen, len(self._rows))]

    def add(self, tap: Tap, *, of_prefix: bool = False) -> None:
        """Add one run of the graph.

        Args:
            tap: The linear's input in that run.
            of_prefix: Whether it was the run over what all prompts begin with.
        """
        largest = self.prefix_largest if of_prefix else self.cells_largest
        np.maximum(largest, tap.largest, out=largest)
        for row in tap.rows:  # reservoir sampling
            place = self._seen
            if place >= len(self._rows):
                place = int(self._random.integers(self._seen + 1))
            if place < len(self._rows):
                self._rows[place] = row
                self._of_prefix[place] = of_prefix
            self._seen += 1

    def forget_prefix(self) -> None:
        """Leave out the run over what all prompts begin with; no run may be added after that."""
        self._rows = self.rows[~self._of_prefix[: len(self.rows)]]
        self._of_prefix = np.zeros(len(self._rows), bool)
        self.prefix_largest = np.zeros_like(self.cells_largest)


class Histogram:
    """Counts of magnitudes in equal bins from 0 to `largest`.

    Args:
        largest: End of the last bin. No magnitude exceeds it, except by rounding.
        factors: [K] multiply each channel before it is counted; None: no factors.
    """

    def __init__(self, largest: float, factors: Float32 | None = None) -> None:
        self.largest = largest
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._factors = factors

    @property
    def centres(self) -> NDArray[np.float64]:
        """[BINS] the middle of each bin."""
        return np.asarray((np.arange(BINS) + 0.5) * (self.largest / BINS), np.float64)

    def add(self, rows: Float32) -> None:
        """Count the values of rows [n, K]."""
        if self.largest <= 0:
            self.counts[0] += rows.size
            return
        magnitudes = np.abs(rows if self._factors is None else rows * self._factors)
        places = (magnitudes * np.float32(BINS / self.largest)).astype(np.int64)
        np.minimum(places, BINS - 1, out=places)
        self.counts += np.bincount(places.reshape(-1), minlength=BINS)


def add_channels(
    statistics: Mapping[str, ChannelStatistics],
    taps: Mapping[str, Tap],
    *,
    of_prefix: bool = False,
) -> None:
    """Add one run of a graph to the statistics of its linears."""
    for name, tap in taps.items():
        statistics[name].add(tap, of_prefix=of_prefix)


def add_counts(histograms: Mapping[str, Histogram], taps: Mapping[str, Tap]) -> None:
    """Add one run of a graph to the histograms of its linears."""
    for name, tap in taps.items():
        histograms[name].add(tap.rows)
