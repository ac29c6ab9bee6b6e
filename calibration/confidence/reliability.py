"""Reliability: of the cells that are said to be right with a probability, how many are.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks": the expected calibration error
is the mean distance of stated and observed share over equal bins, each weighed by its cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

BINS = 10


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Cells whose stated probability lies in one tenth.

    Args:
        cells: How many.
        stated: Mean of their probabilities.
        right: Share of them that are right.
    """

    cells: int
    stated: float
    right: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A probability against what was right.

    Args:
        of: What is judged, in words.
        ece: Expected calibration error, 0 to 1.
        brier: Mean squared error of the probability.
        bins: Those that hold cells, ascending.
    """

    of: str
    ece: float
    brier: float
    bins: tuple[Bin, ...]


def reliability(probability: Float64, right: Float64, *, of: str) -> Reliability:
    """Judge probabilities.

    Args:
        probability: [B] of being right, 0 to 1.
        right: [B] 1 or 0.
        of: What is judged, in words.
    """
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            stated, share = float(probability[inside].mean()), float(right[inside].mean())
            bins.append(Bin(cells=int(inside.sum()), stated=stated, right=share))
    return Reliability(
        of=of,
        ece=sum(b.cells * abs(b.stated - b.right) for b in bins) / len(probability),
        brier=float(np.mean((probability - right) ** 2)),
        bins=tuple(bins),
    )
