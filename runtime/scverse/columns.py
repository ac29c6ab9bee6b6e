"""Descriptions as columns of `obs`: the same names and values that `c2t describe` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.describe.caption import caption_fields
from c2t.runtime.describe.description import Description
from c2t.runtime.scverse.figure import needed

FIELDS = ("cell_type", "tissue", "disease", "sex", "age")


def description_columns(
    rows: NDArray[np.int64], described: Sequence[Description], cells: int, key: str
) -> dict[str, Any]:
    """Columns by name, for all cells of an object; those not described keep "" and NaN.

    Args:
        rows: [described] row of each cell.
        described: The descriptions.
        cells: Rows of the object.
        key: Beginning of the names.
    """
    pandas = needed("pandas")

    def column(values: Sequence[Any], nothing: Any, kind: Any) -> NDArray[Any]:
        made = np.full(cells, nothing, dtype=kind)
        made[rows] = values
        return made

    def number(values: Sequence[float | None]) -> NDArray[np.float64]:
        return column([np.nan if v is None else v for v in values], np.nan, np.float64)

    said = [caption_fields(d.text) if d.text is not None else None for d in described]
    columns: dict[str, Any] = {
        "description": column([d.text or "" for d in described], "", object),
        "confidence": number([d.confidence for d in described]),
        "cell_type_confidence": number([d.cell_type_confidence for d in described]),
        "error": pandas.Categorical(column([d.error or "" for d in described], "", object)),
    }
    for name in FIELDS:
        values = [None if s is None else getattr(s, name) for s in said]
        if any(values):
            columns[name] = pandas.Categorical(column(values, None, object))
    return {f"{key}_{name}": values for name, values in columns.items()}
