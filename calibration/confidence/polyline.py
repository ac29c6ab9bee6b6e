"""Fits a polyline from confidence to the probability of being right, by two methods.

Platt scaling has two parameters and needs few cells. Isotonic regression takes any ascending shape
and needs many. Sources: Platt 1999, "Probabilistic Outputs for Support Vector Machines", with its
targets that keep a fit on few cells from certainty; Zadrozny and Elkan 2002; its steps are joined
at their middles as in Oron and Flournoy 2017, "Centered Isotonic Regression".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# A confidence of 1 in float32 says no more than this: its logit must be finite.
EDGE = 1e-5
CORNERS = 65  # of the polyline that stands for a curve: off by less than 0.001
CONVERGED = 1e-10
STEPS_MAX = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class Polyline:
    """Corners of a map from confidence to probability, both from 0 to 1 and ascending."""

    confidence: Float64
    probability: Float64

    def __call__(self, confidence: Float64) -> Float64:
        """Probability of each confidence [B]; beyond the corners the last one's holds."""
        return np.interp(confidence, self.confidence, self.probability)


Fit = Callable[[Float64, Float64], Polyline]


def fit_platt(confidence: Float64, right: Float64) -> Polyline:
    """Fit a logistic curve to the logit of the confidence.

    Args:
        confidence: [B].
        right: [B] 1 or 0.
    """
    x = _logit(confidence)
    wins, losses = right.sum(), (1 - right).sum()
    target = np.where(right > 0, (wins + 1) / (wins + 2), 1 / (losses + 2))
    middle, wide = float(x.mean()), float(x.std()) or 1.0
    slope, shift = _logistic((x - middle) / wide, target)
    if slope < 0:  # less sure and more often right: nothing can be read off the confidence
        slope, shift = 0.0, float(_logit(np.array([target.mean()]))[0])
    ends = np.linspace(x.min(), x.max(), CORNERS)
    corners = np.unique(np.round(1 / (1 + np.exp(-ends)), 6))
    z = slope * (_logit(corners) - middle) / wide + shift
    return Polyline(confidence=corners, probability=1 / (1 + np.exp(-z)))


def fit_isotonic(confidence: Float64, right: Float64) -> Polyline:
    """Fit ascending steps, each pulled towards the mean by one cell, joined at their middles.

    Args:
        confidence: [B].
        right: [B] 1 or 0.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(confidence, kind="stable")
    x, counts = np.unique(confidence[order], return_counts=True)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    shares = np.add.reduceat(right[order], starts) / counts
    blocks = isotonic_regression(shares, weights=counts.astype(float)).blocks
    mean = float(right.mean())
    corners, probabilities = [], []
    for first, last in pairwise(blocks.tolist()):
        weight = counts[first:last]
        wins = float((shares[first:last] * weight).sum())
        corners.append(float((x[first:last] * weight).sum() / weight.sum()))
        probabilities.append((wins + mean) / (float(weight.sum()) + 1))
    # To pull steps of few cells harder than their neighbours can turn their order.
    return _distinct(np.array(corners), np.maximum.accumulate(np.array(probabilities)))


FITS: dict[str, Fit] = {"platt": fit_platt, "isotonic": fit_isotonic}


def _distinct(confidence: Float64, probability: Float64) -> Polyline:
    """The polyline through corners, of which two that rounding made one count as one."""
    inside = np.clip(np.maximum.accumulate(confidence), 0.0, 1.0)
    keep = np.append(inside[1:] > inside[:-1], True)
    return Polyline(confidence=inside[keep], probability=np.clip(probability[keep], 0.0, 1.0))


def _logit(share: Float64) -> Float64:
    inside = np.clip(share, EDGE, 1 - EDGE)
    return np.log(inside / (1 - inside))


def _logistic(x: Float64, target: Float64) -> tuple[float, float]:
    """Slope and shift of the logistic curve of least log loss, by Newton's method.

    A little weight on the slope keeps it finite where the classes fall apart.
    """
    design = np.stack([x, np.ones_like(x)], axis=1)
    keep = np.diag([1e-3, 0.0])
    beta = np.array([0.0, float(_logit(np.array([target.mean()]))[0])])
    for _ in range(STEPS_MAX):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (p - target) + keep @ beta
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + keep + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta = beta - np.clip(step, -2, 2)
        if np.abs(step).max() < CONVERGED:
            break
    return float(beta[0]), float(beta[1])
