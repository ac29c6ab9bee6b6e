"""What a file of cells itself says for a picture: the plane of its analysis, and its labels.

One decision: it is read once, when the job begins, and kept beside the results: a file that was
described where it lies may be gone when the page asks. What cannot be used is left out and said,
for it is no reason not to describe the cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import (
    child,
    has,
    open_hdf5,
)
from c2t.runtime.cells.formats.hdf5_cells import kind_beside_h5ad
from c2t.runtime.cells.formats.planes import PLANES, plane_places
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.serve.jobs.picture.blob import NONE, Columns
from c2t.runtime.system.errors import CellFileError

LABELS_MAX = 200  # of a column: more cannot be told apart by colour
COLUMNS_MAX = 64
TEXT_MAX = 256  # characters of a label or a column's name
PREFIX = "obs:"


def file_columns(path: Path, rows: NDArray[np.int64]) -> tuple[Columns, list[str]]:
    """Read the plane and the labels of cells.

    Args:
        path: The file of cells. One that is no HDF5 file says nothing.
        rows: Its rows to take [cells], increasing.

    Returns:
        Columns "x" and "y", if there is a plane, and "obs:NAME" of each column of labels with at
        most 200 of them; and what was left out, a sentence each.
    """
    import h5py

    arrays: dict[str, NDArray[Any]] = {}
    categories: dict[str, list[str]] = {}
    left_out: list[str] = []
    scatter = None
    if h5py.is_hdf5(path):
        file = open_hdf5(path)
        try:
            # Rows of other kinds are not those of their tables of cells: MuData's are a modality's.
            if kind_beside_h5ad(file, path.name):
                return Columns(cells=len(rows), arrays={}, categories={}, scatter=None), []
            scatter = _add_plane(file, rows, arrays, left_out)
            _add_labels(file, rows, arrays, categories, left_out)
        finally:
            file.close()
    columns = Columns(cells=len(rows), arrays=arrays, categories=categories, scatter=scatter)
    return columns, left_out


def _add_plane(
    file: Any, rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]], left_out: list[str]
) -> str | None:
    """Add x and y; returns what they are, None if the file has no plane."""
    for name in PLANES:
        key = f"/obsm/{name}"
        try:
            places = plane_places(file, name, rows)
        except CellFileError as error:
            left_out.append(f"{key} is not drawn: {error.problem}")
            continue
        if places is not None:
            arrays["x"], arrays["y"] = places
            return f"obsm {name}"
    return None


def _add_labels(
    file: Any,
    rows: NDArray[np.int64],
    arrays: dict[str, NDArray[Any]],
    categories: dict[str, list[str]],
    left_out: list[str],
) -> None:
    if not has(file, "obs", "/obs"):
        return
    table = H5Table(child(file, "obs", "/obs"), "/obs")
    for name in table.columns:
        if len(categories) == COLUMNS_MAX:
            left_out.append(f"only {COLUMNS_MAX} columns of obs are drawn")
            return
        try:
            found = table.categorical(name, most=LABELS_MAX)
        except CellFileError as error:
            left_out.append(f"obs[{name!r}] is not drawn: {error.problem}")
            continue
        if found is None or len(found[1]) != table.rows:
            continue
        labels, codes = found
        key = PREFIX + name[:TEXT_MAX]
        arrays[key] = np.where(codes < 0, NONE, codes).astype(np.uint16)[rows]
        categories[key] = [label[:TEXT_MAX] for label in labels]
