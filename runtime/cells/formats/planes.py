"""Where cells lie in the plane of an earlier analysis: two columns of a matrix in `obsm`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import check_dataset, child, naming, read_dataset
from c2t.runtime.system.errors import CellFileError

# The plane that people know their cells by comes first.
PLANES = ("X_umap", "X_tsne", "X_draw_graph_fa", "X_phate")
_BLOCK = 262_144  # rows that are read at once


def plane_places(
    file: Any, name: str, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The first two columns of `obsm[name]`.

    Args:
        file: The opened h5py file.
        name: Of the matrix.
        rows: Rows to take [cells], increasing.

    Returns:
        x and y, [cells] float32 each; both are NaN where one is not finite. None if the file has
        no such matrix.

    Raises:
        CellFileError: It is no plain matrix of numbers with two columns and a row for each cell.
    """
    import h5py

    key = f"/obsm/{name}"
    item = child(child(file, "obsm", "/obsm"), name, key)
    if item is None:
        return None
    if not isinstance(item, h5py.Dataset):
        problem = f"{key} is no plain matrix"
        raise CellFileError(problem)
    dataset = check_dataset(item, key, dimensions=2)
    with naming(key):
        (length, width), kind = dataset.shape, dataset.dtype.kind
    if kind not in "fiu" or width < 2 or length <= int(rows[-1]):
        problem = f"it is {length:,} by {width:,} of type {dataset.dtype}"
        raise CellFileError(problem)
    places = np.full((2, len(rows)), np.nan, np.float32)
    for start in range(0, length, _BLOCK):
        first, end = np.searchsorted(rows, (start, start + _BLOCK))
        if first < end:
            part = read_dataset(dataset, (slice(start, start + _BLOCK), slice(0, 2)), key)
            with np.errstate(over="ignore"):
                places[:, first:end] = part[rows[first:end] - start].astype(np.float32).T
    places[:, ~np.isfinite(places).all(axis=0)] = np.nan
    return places[0], places[1]
