"""Fits a rule for unsure cells on labelled ones, and says what it is worth on unseen ones.

One decision: every figure that is stated is of cells that the fit did not see. The cells are dealt
into five parts; each is judged by a curve and a threshold fitted on the other four. The rule itself
is fitted on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.calibration.confidence.polyline import FITS, Float64, Polyline
from c2t.calibration.confidence.reliability import Reliability, reliability
from c2t.runtime.system.errors import EvaluationError

FEWEST_CELLS = 100
PARTS = 5
# A threshold that leaves fewer cells says nothing about its precision.
FEWEST_ANSWERED = 20
TARGET = 0.95


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedRule:
    """A curve and a threshold, with what they do on cells that they were not fitted on.

    Args:
        line: Confidence to probability.
        method: How it was fitted.
        threshold: Least probability of an answered cell; 0 if all may be answered.
        cells: How many it was fitted on.
        right: Share of them that are right.
        answered: Share of unseen cells at or above the threshold.
        answered_right: Share of right ones among those.
        before: Reliability of the confidence itself.
        after: That of the probability, unseen.
    """

    line: Polyline
    method: str
    threshold: float
    cells: int
    right: float
    answered: float
    answered_right: float
    before: Reliability
    after: Reliability


def fit_rule(confidence: Float64, right: Float64, *, target: float = TARGET) -> FittedRule:
    """Fit a curve by the better of the methods, and the threshold for a target.

    Args:
        confidence: [B] of the words that name the cell type; NaN where none are.
        right: [B] 1 or 0.
        target: Share of right ones that the answered cells should have.

    Raises:
        EvaluationError: Too few cells, or no threshold reaches the target.
    """
    named = np.isfinite(confidence)
    if named.sum() < FEWEST_CELLS:
        problem = f"{named.sum():,} labelled cells with a named cell type are too few to fit on"
        raise EvaluationError(problem, hint=f"give at least {FEWEST_CELLS}, better 500")
    x, y = confidence[named], right[named]
    part = _parts(y)
    unseen = {name: _unseen(name, x, y, part) for name in FITS}
    losses = {name: _log_loss(p, y) for name, p in unseen.items()}
    # The method with fewer parameters, unless the other is better by more than chance.
    gain = losses["platt"] - losses["isotonic"]
    better = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    method = "isotonic" if better else "platt"
    line = FITS[method](x, y)
    threshold = find_threshold(line(x), y, target)
    answered, answered_right = _answered(method, x, y, part, target)
    return FittedRule(
        line=line,
        method=method,
        threshold=threshold,
        cells=len(confidence),
        right=float(right.mean()),
        answered=answered / len(confidence),
        answered_right=answered_right,
        before=reliability(x, y, of="confidence of the cell type"),
        after=reliability(unseen[method], y, of="probability fitted on other cells"),
    )


def find_threshold(probability: Float64, right: Float64, target: float) -> float:
    """The lowest probability at and above which the share of right cells reaches the target.

    Args:
        probability: [B].
        right: [B] 1 or 0.
        target: 0 to 1.

    Returns:
        0 if all cells together reach it.

    Raises:
        EvaluationError: No threshold does.
    """
    order = np.argsort(-probability, kind="stable")
    p = probability[order]
    count = np.arange(1, len(p) + 1)
    share = np.cumsum(right[order]) / count
    # A threshold takes all cells of equal probability, or none.
    whole = np.append(p[1:] < p[:-1], True) & (count >= min(FEWEST_ANSWERED, len(p)))
    reached = np.flatnonzero(whole & (share >= target))
    if not len(reached):
        best = int(np.flatnonzero(whole)[np.argmax(share[whole])])
        problem = (
            f"no threshold makes {100 * target:g} % of the answered cells right; the surest "
            f"{best + 1:,} of {len(p):,} are right in {100 * share[best]:.1f} %"
        )
        raise EvaluationError(problem, hint="ask for less with --unsure-target, or look at labels")
    last = int(reached[-1])
    if last == len(p) - 1:
        return 0.0
    # Halfway to the first cell that is left out, so that rounding turns no cell; two that have no
    # number between them are told apart by the upper one.
    middle = float(p[last] + p[last + 1]) / 2
    return middle if middle > p[last + 1] else float(p[last])


def unseen_probabilities(confidence: Float64, right: Float64) -> Float64:
    """Probability of each cell [B] by a Platt curve that was fitted on other cells."""
    return _unseen("platt", confidence, right, _parts(right))


def _parts(right: Float64) -> Float64:
    """Part of each cell; right and wrong ones are dealt out evenly, always in the same way."""
    part = np.empty(len(right))
    rng = np.random.default_rng(0)
    start = 0
    for kind in (0, 1):
        cells = rng.permutation(np.flatnonzero(right == kind))
        part[cells] = (start + np.arange(len(cells))) % PARTS
        start += len(cells)
    return part


def _unseen(method: str, x: Float64, y: Float64, part: Float64) -> Float64:
    unseen = np.empty(len(x))
    for number in range(PARTS):
        here = part == number
        unseen[here] = FITS[method](x[~here], y[~here])(x[here])
    return unseen


def _answered(
    method: str, x: Float64, y: Float64, part: Float64, target: float
) -> tuple[int, float]:
    """How many cells are answered, and the share of right ones, each part by a fit on the rest."""
    answered = np.zeros(len(x), bool)
    for number in range(PARTS):
        here = part == number
        line = FITS[method](x[~here], y[~here])
        try:
            threshold = find_threshold(line(x[~here]), y[~here], target)
        except EvaluationError:
            continue  # by these cells, none would be answered
        answered[here] = line(x[here]) >= threshold
    return int(answered.sum()), float(y[answered].mean()) if answered.any() else 0.0


def _log_loss(probability: Float64, right: Float64) -> Float64:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return -(right * np.log(p) + (1 - right) * np.log(1 - p))
