"""Descriptions as columns of `obs`: the same names and values that `c2t describe` writes.

One decision: whatever a record says of a cell becomes a column by its kind. What describing learns
to say later is there at once, and never under another name than in a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.output.record import FIELD_COLUMNS, Record
from c2t.runtime.scverse.figure import needed

# What has a column of another kind or name, or none.
_APART = ("row", "cell", "text", "error", "genes_used")
_ALWAYS = ("confidence", "cell_type_confidence")


def description_columns(records: Sequence[Record], cells: int, key: str) -> dict[str, Any]:
    """Columns by name, for all cells of an object; those not described keep "" and NaN.

    Args:
        records: What is said of each described cell.
        cells: Rows of the object.
        key: Beginning of the names.
    """
    pandas = needed("pandas")
    rows = np.array([record.row for record in records], np.int64)

    def column(values: Sequence[Any], nothing: Any, kind: Any) -> NDArray[Any]:
        made = np.full(cells, nothing, dtype=kind)
        made[rows] = values
        return made

    columns: dict[str, Any] = {
        "description": column([record.text or "" for record in records], "", object),
        "error": pandas.Categorical(column([r.error or "" for r in records], "", object)),
    }
    said = any(getattr(record, name) for record in records for name in FIELD_COLUMNS)
    kept = FIELD_COLUMNS if said else ("cell_type",)  # plots and users ask for it
    for part in dataclasses.fields(Record):
        name = part.name
        values = [getattr(record, name) for record in records]
        kinds = {type(value) for value in values if value is not None}
        if name in _APART or bytes in kinds:
            continue
        if name in _ALWAYS or kinds == {float}:
            filled = [np.nan if value is None else value for value in values]
            columns[name] = column(filled, np.nan, np.float64)
        elif kinds == {bool}:  # unsure: what was not described has no sure answer either
            columns[name] = column([value is not False for value in values], True, bool)
        elif kinds == {str} or name in kept:
            columns[name] = pandas.Categorical(column(values, None, object))
    return {f"{key}_{name}": values for name, values in columns.items()}


def stale_columns(present: Iterable[str], columns: Mapping[str, Any], key: str) -> list[str]:
    """Columns of an earlier description that a later one does not have.

    Args:
        present: All columns of `obs`.
        columns: The later ones.
        key: Beginning of the names.
    """
    ours = {f"{key}_{part.name}" for part in dataclasses.fields(Record)}
    return [name for name in present if name in ours and name not in columns]
