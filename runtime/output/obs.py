"""Descriptions inside a copy of the file of cells: `obs["c2t_description"]` and its neighbours.

One decision: the file is copied byte for byte and the new columns are added through anndata's own
element writer. Nothing else is read, converted or held in memory, and the original is only read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.output.record import Record
from c2t.runtime.system.errors import OutputError

DESCRIPTION = "c2t_description"
CONFIDENCE = "c2t_confidence"
CELL_TYPE_CONFIDENCE = "c2t_cell_type_confidence"
ERROR = "c2t_error"
COLUMNS = (DESCRIPTION, CONFIDENCE, CELL_TYPE_CONFIDENCE, ERROR)
ABOUT = "c2t"


def check_obs(source: Path) -> None:
    """Refuse a file that columns cannot be added to, before it is described.

    A file that is not HDF5 passes here: the reader of cells knows better what it is.

    Raises:
        OutputError: The file has the layout of anndata before 0.7, which has no columns to add to.
    """
    import h5py

    if not source.is_file() or not h5py.is_hdf5(source):
        return
    with h5py.File(source, "r") as file:
        obs = file.get("obs")
        if not isinstance(obs, h5py.Group) or "_index" not in obs.attrs:
            problem = f"{source} has the layout of anndata before 0.7: its `obs` is no data frame"
            hint = "write .jsonl, .csv or .parquet, or save the file again with a newer anndata"
            raise OutputError(problem, hint=hint)


def write_obs(source: Path, path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write a copy of the file of cells with their descriptions.

    Cells without a record keep an empty description and NaN as their confidence.

    Args:
        source: The `.h5ad` file that was described; see `check_obs`.
        path: The file to write; it may exist.
        records: What to add.
        about: Goes into `uns["c2t"]`: strings and numbers by name.
    """
    import h5py
    from anndata.io import write_elem

    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        for name, values in _columns(_length(obs), records).items():
            write_elem(obs, name, values)
        order = [_text(name) for name in np.atleast_1d(obs.attrs.get("column-order", []))]
        # A column that is not listed here is ignored by readers.
        order += [name for name in COLUMNS if name not in order]
        obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
        if "uns" not in file:
            write_elem(file, "uns", {})
        write_elem(file["uns"], ABOUT, about)


def _columns(length: int, records: Iterable[Record]) -> dict[str, np.ndarray[Any, Any]]:
    description = np.full(length, "", dtype=object)
    error = np.full(length, "", dtype=object)
    confidence = np.full(length, np.nan)
    cell_type_confidence = np.full(length, np.nan)
    for record in records:
        description[record.row] = record.text or ""
        error[record.row] = record.error or ""
        if record.confidence is not None:
            confidence[record.row] = record.confidence
        if record.cell_type_confidence is not None:
            cell_type_confidence[record.row] = record.cell_type_confidence
    values = (description, confidence, cell_type_confidence, error)
    return dict(zip(COLUMNS, values, strict=True))


def _length(obs: Any) -> int:
    """Cells of the file: the length of its index, which may be stored as categories."""
    import h5py

    index = obs[_text(obs.attrs["_index"])]
    return int((index["codes"] if isinstance(index, h5py.Group) else index).shape[0])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
