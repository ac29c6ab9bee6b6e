"""What an AnnData object says of its described cells, for plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.anndata_object import is_anndata
from c2t.runtime.summary.categories import FAILED, UNSURE
from c2t.runtime.summary.own_columns import columns_hint
from c2t.runtime.system.errors import ReportError


@dataclass(frozen=True, eq=False, kw_only=True)
class Described:
    """The cells that were described.

    Attributes:
        rows: [described] their rows.
        names: [described] the type that each text says: a name, one of `SPECIAL`, or None.
        unsure: [described] which are unsure of it; None: it is not known.
    """

    rows: NDArray[np.int64]
    names: list[str | None]
    unsure: list[bool] | None

    @property
    def types(self) -> list[str | None]:
        """[described] as `names`, but unsure cells apart."""
        marks = self.unsure or [False] * len(self.names)
        pairs = zip(self.names, marks, strict=True)
        return [UNSURE if mark and name != FAILED else name for name, mark in pairs]


def described_types(adata: Any, key: str) -> Described:
    """The described type of each cell.

    Args:
        adata: Filled by `c2t.tl.describe`, or read from what `c2t describe` wrote.
        key: Beginning of the columns' names.

    Raises:
        ReportError: It has no descriptions.
    """
    check_adata(adata)
    name = f"{key}_cell_type"
    types: list[str | None] = [value or None for value in column_of(adata, name)]
    there = np.ones(len(types), bool)
    if f"{key}_description" in adata.obs:
        texts = column_of(adata, f"{key}_description")
        there = np.array([bool(text) for text in texts], bool)
    unsure: list[bool] | None = None
    if f"{key}_unsure" in adata.obs:
        unsure = [mark == "True" for mark in column_of(adata, f"{key}_unsure")]
    if f"{key}_error" in adata.obs:
        errors = column_of(adata, f"{key}_error")
        types = [FAILED if error else t for error, t in zip(errors, types, strict=True)]
        there |= np.array([bool(error) for error in errors], bool)
    rows = np.flatnonzero(there)
    if not len(rows):
        problem = f"no cell of adata is described: obs[{key + '_description'!r}] is empty"
        raise ReportError(problem, hint="describe cells first: `c2t.tl.describe(adata, model)`")
    chosen = rows.tolist()
    return Described(
        rows=rows,
        names=[types[row] for row in chosen],
        unsure=None if unsure is None else [unsure[row] for row in chosen],
    )


def column_of(adata: Any, name: str) -> list[str]:
    """A column of `obs` as strings; "" for a missing value.

    Raises:
        ReportError: There is none.
    """
    if name not in adata.obs:
        problem = f"adata.obs has no column {name!r}"
        raise ReportError(problem, hint=_hint(name, [str(column) for column in adata.obs.columns]))
    values = adata.obs[name]
    present = values.notna().to_numpy()
    return [
        str(value) if is_there else ""
        for value, is_there in zip(values.tolist(), present.tolist(), strict=True)
    ]


def check_adata(adata: Any) -> None:
    """Refuse what is no AnnData object.

    Raises:
        ReportError: It is something else.
    """
    if not is_anndata(adata):
        problem = f"adata is {type(adata).__name__}, not an AnnData object"
        raise ReportError(problem, hint="pass the object itself")


def _hint(name: str, columns: Sequence[str]) -> str:
    if name.endswith("_cell_type"):
        return "describe its cells first: `c2t.tl.describe(adata, model)`"
    return columns_hint(name, columns)
