"""How far the confidence of a bundle's cell types can be trusted on labelled cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2t.calibration.confidence.fit import FEWEST_CELLS, unseen_probabilities
from c2t.calibration.confidence.polyline import Float64
from c2t.calibration.confidence.reliability import Reliability, reliability


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a threshold does; shares are of the labelled cells that have a text.

    Args:
        answered: Cells that are not unsure.
        answered_right: Share of right ones among those; None if there are none.
        unsure_right: Share of right ones among the unsure; None if there are none.
    """

    answered: float
    answered_right: float | None
    unsure_right: float | None


@dataclass(frozen=True, kw_only=True)
class CertaintyScore:
    """Confidence of the cell type against labels.

    Args:
        cells: Labelled cells whose text names a cell type.
        before: The confidence itself.
        after: The probability that the bundle states; where it states none, one that is fitted on
            these cells and judged on those that each fit did not see. None for too few cells.
        stated: Whether the bundle states it.
        answers: Under the threshold in force; None without one.
    """

    cells: int
    before: Reliability
    after: Reliability | None
    stated: bool
    answers: Answers | None


def score_certainty(
    confidence: Float64,
    right: Float64,
    *,
    stated: Float64 | None = None,
    unsure: Float64 | None = None,
) -> CertaintyScore | None:
    """Judge confidences.

    Args:
        confidence: [B] of cells with a label and a text; NaN where it names no cell type.
        right: [B] 1 or 0.
        stated: [B] the bundle's own probabilities; None if it states none.
        unsure: [B] 1 for unsure cells; None without a threshold.

    Returns:
        None if no text names a cell type.
    """
    named = np.isfinite(confidence)
    if not named.any():
        return None
    x, y = confidence[named], right[named]
    after = None
    if stated is not None:
        after = reliability(stated[named], y, of="probability that the bundle states")
    elif len(x) >= FEWEST_CELLS:
        of = "probability fitted on other cells of the file"
        after = reliability(unseen_probabilities(x, y), y, of=of)
    return CertaintyScore(
        cells=len(x),
        before=reliability(x, y, of="confidence of the cell type"),
        after=after,
        stated=stated is not None,
        answers=None if unsure is None else _answers(right, unsure),
    )


def _answers(right: Float64, unsure: Float64) -> Answers:
    answered = unsure == 0
    return Answers(
        answered=float(answered.mean()),
        answered_right=float(right[answered].mean()) if answered.any() else None,
        unsure_right=float(right[~answered].mean()) if (~answered).any() else None,
    )
