"""Fits a bundle's rule for unsure cells on the records of judged cells.

One decision: labels that no text names would spoil the fit in silence: each such cell is "wrong".
So they are refused, unless a label map says that they are meant as they are.
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import c2t
from c2t.calibration.confidence.fit import FEWEST_CELLS, fit_rule
from c2t.calibration.confidence.polyline import Float64
from c2t.calibration.evaluate.truth import Truth
from c2t.calibration.metrics.labels import same_label
from c2t.calibration.results.evaluation import CellRecord
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.bundle.unsure_rule import RULE_VERSION, FittedOn, UnsureRule
from c2t.runtime.labels.normalise import normalise_label
from c2t.runtime.system.errors import EvaluationError

# Share of cells whose label no text names, above which nothing is fitted without a label map.
UNNAMED_MAX = 0.1


def fitted_on(
    cells: Path, count: int, *, column: str, label_map: Path | None, which: str = ""
) -> FittedOn:
    """What a rule says of a file of labelled cells."""
    return FittedOn(
        file=cells.name,
        sha256=sha256_of(cells.resolve()),
        cells=count,
        which=which,
        label_column=column,
        label_map=None if label_map is None else sha256_of(label_map.resolve()),
    )


def check_enough(truth: Truth) -> None:
    """Refuse to fit on too few labels before anything is described.

    Raises:
        EvaluationError: Too few cells have a label of their cell type.
    """
    names = next((true.names for true in truth.labels if true.field == "cell_type"), ())
    labelled = sum(name is not None for name in names)
    if labelled < FEWEST_CELLS:
        problem = f"{labelled:,} labelled cells are too few to fit a threshold on"
        raise EvaluationError(problem, hint=f"give at least {FEWEST_CELLS}, better 500")


def judged_cells(records: Sequence[CellRecord]) -> list[CellRecord]:
    """The cells that a rule can be fitted on: those with a cell type's label and a text."""
    return [r for r in records if r.text is not None and r.true.get("cell_type") is not None]


def check_labels_are_named(records: Sequence[CellRecord]) -> None:
    """Refuse labels that mostly have other names in the texts.

    Raises:
        EvaluationError: Too many cells have a label that no text names.
    """
    said = {normalise_label(name) for r in records if (name := r.said.get("cell_type"))}
    never = Counter(
        label
        for r in records
        if (label := r.true.get("cell_type")) is not None and normalise_label(label) not in said
    )
    if never.total() > UNNAMED_MAX * len(records):
        names = ", ".join(f"`{label}`" for label, _ in never.most_common(3))
        problem = (
            f"{never.total():,} of {len(records):,} cells have a label that no text names, such as "
            f"{names}: a threshold fitted on them would mean nothing"
        )
        hint = "map them with --label-map (--propose-label-map writes one to look at); see "
        hint += "`c2t help unsure`"
        raise EvaluationError(problem, hint=hint)


def fit_unsure(
    bundle: Bundle,
    records: Sequence[CellRecord],
    files: Sequence[FittedOn],
    *,
    target: float,
    generation: dict[str, str],
) -> UnsureRule:
    """Fit a rule.

    Args:
        bundle: It wrote the texts.
        records: See `judged_cells`.
        files: What they are from.
        target: Share of right ones that the answered cells should have.
        generation: See `c2t.runtime.describe.unsure.text_settings`.

    Raises:
        EvaluationError: Too few cells, or no threshold reaches the target.
    """
    confidence, right = confidence_and_right(records)
    fit = fit_rule(confidence, right, target=target)
    return UnsureRule(
        version=RULE_VERSION,
        # Not rounded: confidences near 1 differ in their seventh digit, and the threshold lies
        # between two cells.
        confidence=tuple(fit.line.confidence.tolist()),
        probability=tuple(fit.line.probability.tolist()),
        threshold=fit.threshold,
        target=target,
        method=fit.method,
        fitted_on=tuple(files),
        cells=fit.cells,
        right=round(fit.right, 4),
        answered=round(fit.answered, 4),
        answered_right=round(fit.answered_right, 4),
        ece_before=round(fit.before.ece, 4),
        ece_after=round(fit.after.ece, 4),
        generation=generation,
        bundle=bundle.digest,
        c2t_version=c2t.__version__,
        date=_today(),
    )


def rule_sentence(rule: UnsureRule) -> str:
    """What was fitted, for people."""
    if rule.threshold == 0:
        return (
            f"fitted on {rule.cells:,} cells ({rule.method}): {100 * rule.right:.1f} % of all are "
            f"right, which is no less than {100 * rule.target:g} %, so none is unsure; calibration "
            f"error {rule.ece_before:.3f}, now {rule.ece_after:.3f}"
        )
    return (
        f"fitted on {rule.cells:,} cells ({rule.method}): a cell type that is right with less than "
        f"{rule.threshold:g} is unsure; in cells that the fit did not see, "
        f"{100 * rule.answered:.1f} % are answered and {100 * rule.answered_right:.1f} % of those "
        f"right (of all {100 * rule.right:.1f} %); calibration error {rule.ece_before:.3f}, now "
        f"{rule.ece_after:.3f}"
    )


def confidence_and_right(records: Sequence[CellRecord]) -> tuple[Float64, Float64]:
    """Confidence of the cell type [B], NaN where none is named; and 1 where it is right, else 0."""
    nan = float("nan")
    confidence = [nan if (c := r.cell_type_confidence) is None else c for r in records]
    right = [same_label(r.true.get("cell_type"), r.said.get("cell_type")) for r in records]
    return np.array(confidence, dtype=np.float64), np.array(right, dtype=np.float64)


def _today() -> str:
    """The date in UTC, or that of SOURCE_DATE_EPOCH, for runs that must be repeatable."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.datetime.now(datetime.UTC)
    if epoch.isdigit():
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    return moment.date().isoformat()
