"""The true labels of cells, for a calibration: a column of the file, met with the labels.

One decision: a value is a label if it is its words (letter case aside) or its id, or if the user's
label map says so. Nothing is guessed. Cells with another value are left out of the fit, and said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.annotate.labels import LabelError, Labels
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.labels.label_map import UNKNOWN, FieldMap, read_label_map

SHOWN = 5


@dataclass(frozen=True, eq=False)
class TrueLabels:
    """True labels.

    Args:
        places: [B] the place of each cell's label; -1 where it has none of them.
        sentence: How many cells have one, and which values are none.
    """

    places: NDArray[np.int64]
    sentence: str


def true_labels(
    cells: CellCounts, column: str, labels: Labels, *, label_map: Path | None = None
) -> TrueLabels:
    """Read the true labels of the selected cells.

    Raises:
        LabelError: There is no such column, or no cell has one of the labels.
        EvaluationError: The label map is missing, or none.
    """
    if column not in cells.obs_columns:
        problem = f"{cells.name} has no column {column!r} in its table of cells"
        shown = ", ".join(map(repr, cells.obs_columns[:12])) or "none"
        raise LabelError(problem, hint=f"its columns are: {shown}")
    renamed = read_label_map(label_map).get("cell_type", FieldMap()).labels
    place_of = {label.name.casefold(): place for place, label in enumerate(labels.labels)}
    for place, label in enumerate(labels.labels):
        if label.id:
            place_of.setdefault(label.id.casefold(), place)
    values = cells.obs_column(column)
    found = {
        v: place_of.get(" ".join(renamed.get(v, v).split()).casefold(), -1) for v in set(values)
    }
    places = np.array([found[value] for value in values], dtype=np.int64)
    others = Counter(v for v in values if found[v] < 0 and v.strip().lower() not in UNKNOWN)
    shown = ", ".join(f"{value!r} ({count:,})" for value, count in others.most_common(SHOWN))
    if len(others) > SHOWN:
        shown += f" and {len(others) - SHOWN:,} more"
    known = int((places >= 0).sum())
    if not known:
        problem = f"no cell of {cells.name} has one of the labels in {column!r}"
        hint = f"its values are {shown}" if others else "the column is empty"
        hint += "; say which label each is with --label-map (see `c2t help unsure`)"
        raise LabelError(problem, hint=hint)
    sentence = f"{known:,} of {len(values):,} cells have one of the labels in {column!r}"
    if others:
        sentence += f"; these values are no labels and are left out of the fit: {shown}"
    return TrueLabels(places, sentence)
