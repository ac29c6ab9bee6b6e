"""Descriptions as columns of `obs`: the same names and values that `c2t describe` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.describe.description import Description
from c2t.runtime.scverse.figure import needed

# CELLxGENE's schema has another name for the ids of ages.
TERMS = {"age": "development_stage_ontology_term_id"}


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

    columns: dict[str, Any] = {
        "description": column([d.text or "" for d in described], "", object),
        "confidence": number([d.confidence for d in described]),
        "cell_type_confidence": number([d.cell_type_confidence for d in described]),
        "error": pandas.Categorical(column([d.error or "" for d in described], "", object)),
    }
    for name in dict.fromkeys(name for d in described for name in d.fields):
        found = [d.fields.get(name) for d in described]
        words = [None if f is None else f.words for f in found]
        terms = [None if f is None else f.ontology_id for f in found]
        columns[name] = pandas.Categorical(column(words, None, object))
        if any(terms):
            columns[TERMS.get(name, f"{name}_ontology_term_id")] = pandas.Categorical(
                column(terms, None, object)
            )
    return {f"{key}_{name}": values for name, values in columns.items()}
