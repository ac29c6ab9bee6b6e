"""Descriptions inside an `.h5ad` file: the columns `c2t_...` of its `obs`, and `uns["c2t"]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import (
    check_dataset,
    child,
    has,
    naming,
    open_hdf5,
    read_dataset,
)
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.formats.table import H5Table, as_strings
from c2t.runtime.system.errors import ReportError

PREFIX = "c2t_"
DESCRIPTION = "c2t_description"
_ABOUT_MAX = 64  # entries of uns["c2t"]
_TEXT_BYTES_MAX = 65_536


def read_h5ad(
    path: Path, wanted: Sequence[str]
) -> tuple[Iterator[Mapping[str, Any]], dict[str, Any]]:
    """One record a row of `obs`, with its number as "row"; and `uns["c2t"]`.

    Raises:
        CellFileError: The file is damaged.
        ReportError: It has no descriptions.
    """
    check_cells_path(path)
    with open_hdf5(path) as file:
        if not has(file, "obs", "/obs"):
            problem = f"{path} has no /obs: not an .h5ad file"
            raise ReportError(problem, hint="give what `c2t describe ... -o` wrote")
        table = H5Table(child(file, "obs", "/obs"), "/obs")
        present = set(table.columns)
        if DESCRIPTION not in present:
            problem = f"{path} has no obs[{DESCRIPTION!r}]: its cells are not described"
            hint = "give what `c2t describe ... -o NAME.h5ad` or `--write-obs` wrote"
            raise ReportError(problem, hint=hint)
        columns = {"cell": table.index()}
        for name in wanted:
            stored = DESCRIPTION if name == "text" else PREFIX + name
            if stored in present:
                columns[name] = table.column(stored)
        about = _about(file)
    return _records(columns), about


def _records(columns: dict[str, list[str]]) -> Iterator[Mapping[str, Any]]:
    names = list(columns)
    for row, values in enumerate(zip(*columns.values(), strict=True)):
        yield {"row": row, **dict(zip(names, values, strict=True))}


def _about(file: Any) -> dict[str, Any]:
    uns = child(file, "uns", "/uns")
    group = child(uns, "c2t", "/uns/c2t") if hasattr(uns, "keys") else None
    return _entries(group, "/uns/c2t", depth=2) if hasattr(group, "keys") else {}


def _entries(group: Any, key: str, *, depth: int) -> dict[str, Any]:
    """Texts and numbers of a group; whatever else it has is left alone."""
    import h5py

    found: dict[str, Any] = {}
    with naming(key):
        names = list(group)[:_ABOUT_MAX]
    for name in names:
        place = f"{key}/{name}"
        item = child(group, name, place)
        if isinstance(item, h5py.Group):
            if depth:
                found[name] = _entries(item, place, depth=depth - 1)
            continue
        with naming(place):
            string = h5py.check_string_dtype(item.dtype)
            plain = item.shape == () and (item.dtype.kind in "iufb" or string is not None)
            small = string is None or (string.length or 0) <= _TEXT_BYTES_MAX
        if plain and small:
            value = np.asarray(read_dataset(check_dataset(item, place, dimensions=0), (), place))
            found[name] = value.item() if string is None else as_strings(value.reshape(-1))[0]
    return found
