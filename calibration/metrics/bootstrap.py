"""Percentile bootstrap over cells: how far a figure would move with other cells of the same kind.

One decision: a resample is a row of weights (how often each cell was drawn), so a figure of all
resamples at once is one matrix product, and two systems judged by the same rows are compared cell
by cell, in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Float64 = NDArray[np.float64]

# Weights are float32, so that 1000 resamples of 100,000 cells take 400 MB and not 800.
Weights = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and the interval it lies in when the cells are drawn again."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class BootstrapOptions:
    """How intervals are found.

    Args:
        resamples: How often the cells are drawn again, with replacement.
        seed: Of the draws; the same seed gives the same intervals.
        coverage: Share of the resampled figures that lie inside an interval.
    """

    resamples: int = 1000
    seed: int = 0
    coverage: float = 0.95


class Bootstrap:
    """Resamples of `cells` cells; every figure of an evaluation uses the same ones.

    Args:
        cells: How many cells were judged.
        options: How to draw.
    """

    def __init__(self, cells: int, options: BootstrapOptions) -> None:
        rng = np.random.default_rng(options.seed)
        self.weights: Weights = np.zeros((options.resamples, cells), dtype=np.float32)
        for row in self.weights:
            row += np.bincount(rng.integers(cells, size=cells), minlength=cells)
        self._ends = [50 * (1 - options.coverage), 50 * (1 + options.coverage)]

    def mean(self, values: Float64) -> Interval:
        """Interval of the mean of a figure per cell.

        Args:
            values: [B]; NaN for a cell without the figure.
        """
        return self.ratio(np.nan_to_num(values), np.isfinite(values).astype(np.float64))

    def ratio(self, parts: Float64, wholes: Float64) -> Interval:
        """Interval of sum(parts) / sum(wholes), each [B]; NaN if the wholes are 0."""
        whole = float(wholes.sum())
        value = float(parts.sum()) / whole if whole else float("nan")
        return self.interval(value, self.ratios(parts, wholes))

    def ratios(self, parts: Float64, wholes: Float64) -> Float64:
        """The same quotient of every resample [R]; NaN where nothing of the whole was drawn."""
        above = self.weights @ parts.astype(np.float32)
        below = self.weights @ wholes.astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(above / below, dtype=np.float64)

    def sums(self, groups: Sequence[int | None], size: int) -> Float64:
        """How many cells of each group every resample drew.

        Args:
            groups: [B] group of each cell; None is in no group.
            size: Number of groups N.

        Returns:
            Counts [R,N].
        """
        cells = [cell for cell, group in enumerate(groups) if group is not None]
        columns = [group for group in groups if group is not None]
        member = csr_matrix(
            (np.ones(len(cells), dtype=np.float32), (cells, columns)), (len(groups), size)
        )
        return np.asarray((member.T @ self.weights.T).T, dtype=np.float64)

    def interval(self, value: float, resampled: Float64) -> Interval:
        """The percentile interval of a figure.

        Args:
            value: The figure of the cells as they are.
            resampled: [R] the figure of each resample; NaN where it has none.
        """
        found = resampled[np.isfinite(resampled)]
        if not len(found):
            return Interval(value=float(value), low=float(value), high=float(value))
        low, high = np.percentile(found, self._ends)
        return Interval(value=float(value), low=float(low), high=float(high))
