"""Matrices of an `.h5ad` file: dense, CSR and CSC, read in contiguous rows.

Files come from strangers: every length, offset and column is checked before it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.cells.formats.hdf5 import (
    checked_dataset,
    child,
    has,
    read_dataset,
    read_whole,
)
from c2t.runtime.cells.formats.transpose import CompressedColumns, TransposedRows
from c2t.runtime.cells.sparse_rows import (
    RowMatrix,
    SparseRows,
    check_numbers,
    check_offsets,
    check_widest,
    dense_to_rows,
    leave_out_strangers,
)
from c2t.runtime.system.errors import CellFileError


class DenseMatrix:
    """A dense data set: one number for each cell and gene."""

    def __init__(self, dataset: Any, key: str) -> None:
        check_numbers(dataset.dtype, key)
        self.key = key
        self._dataset = dataset

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, columns."""
        cells, columns = self._dataset.shape
        return int(cells), int(columns)

    def entries(self, start: int, stop: int) -> int:
        """How many numbers rows [start, stop) have, zeros included."""
        return (stop - start) * self.shape[1]

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        return dense_to_rows(read_dataset(self._dataset, slice(start, stop), self.key))


class CompressedRows:
    """A CSR group: `indptr` in memory, `indices` and `data` as h5py data sets."""

    def __init__(
        self,
        key: str,
        shape: tuple[int, int],
        indptr: NDArray[np.int64],
        indices: Any,
        data: Any,
    ) -> None:
        self.key = key
        self.shape = shape
        self._indptr, self._indices, self._data = indptr, indices, data
        check_widest(np.diff(indptr), shape[1], key)

    def entries(self, start: int, stop: int) -> int:
        """The stored entries of rows [start, stop)."""
        return int(self._indptr[stop] - self._indptr[start])

    def lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """The entries of each of the rows [start, stop)."""
        return np.diff(self._indptr[start : stop + 1])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        span = slice(int(self._indptr[start]), int(self._indptr[stop]))
        indices = read_dataset(self._indices, span, f"{self.key}/indices")
        data = read_dataset(self._data, span, f"{self.key}/data")
        indptr = self._indptr[start : stop + 1] - self._indptr[start]
        return leave_out_strangers(
            SparseRows(indptr, indices, data, self.shape[1]), f"{self.key}/indices"
        )


def open_matrix(parent: Any, name: str, key: str, expected: tuple[int, int]) -> RowMatrix:
    """Open a matrix of an `.h5ad` file.

    Args:
        parent: The h5py group that holds it.
        name: Its name there.
        key: Its place in the file, for messages.
        expected: Cells and columns, from the tables of cells and genes.

    Raises:
        CellFileError: It is no such matrix, or damaged; names the place.
    """
    import h5py

    item = child(parent, name, key)
    if not isinstance(item, h5py.Group):
        dataset = checked_dataset(parent, name, key, dimensions=2)
        check_shape(dataset.shape, expected, key)
        return DenseMatrix(dataset, key)
    layout = _layout(item, key, expected)
    stated = [attribute(item, name, key) for name in ("shape", "h5sparse_shape")]
    check_shape(next((shape for shape in stated if shape is not None), expected), expected, key)
    if layout == "csr":
        return CompressedRows(key, expected, *sparse_parts(item, key, expected[0]))
    return TransposedRows(CompressedColumns(key, expected, *sparse_parts(item, key, expected[1])))


def _layout(group: Any, key: str, expected: tuple[int, int]) -> str:
    """Tell CSR from CSC: by the attributes of any anndata version, else by the lengths."""
    names = ("encoding-type", "h5sparse_format")
    stated = next((str(a) for name in names if (a := attribute(group, name, key)) is not None), "")
    if stated[:3] in ("csr", "csc"):
        return stated[:3]
    if not stated and has(group, "indptr", key) and expected[0] != expected[1]:
        lines = len(checked_dataset(group, "indptr", f"{key}/indptr")) - 1
        if lines in expected:
            return "csr" if lines == expected[0] else "csc"
    problem = f"{key} is neither a dense, a CSR nor a CSC matrix ({stated or 'no encoding'})"
    raise CellFileError(problem, hint="write the file again with a current anndata")


def check_shape(shape: Any, expected: tuple[int, int], key: str) -> None:
    """Refuse a matrix that is stated to have another shape than its tables.

    Raises:
        CellFileError: Names both.
    """
    stated = tuple(np.ravel(shape).tolist())
    if stated != expected:
        problem = f"{key} has shape {stated}, but there are {expected[0]:,} cells and "
        problem += f"{expected[1]:,} genes"
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")


def sparse_parts(group: Any, key: str, lines: int) -> tuple[NDArray[np.int64], Any, Any]:
    """The three members of a sparse group, checked: offsets read, indices and data as data sets.

    Args:
        group: The group.
        key: Its place in the file.
        lines: Its rows (CSR) or columns (CSC).
    """
    offsets = checked_dataset(group, "indptr", f"{key}/indptr")
    indices = checked_dataset(group, "indices", f"{key}/indices")
    data = checked_dataset(group, "data", f"{key}/data")
    return check_sparse_parts(offsets, indices, data, key, lines), indices, data


def check_sparse_parts(
    offsets: Any, indices: Any, data: Any, key: str, lines: int
) -> NDArray[np.int64]:
    """Refuse arrays that are no sparse matrix together; the offsets are read.

    Args:
        offsets: One-dimensional arrays of a file: where each line begins, ...
        indices: ... the places of entries within their lines, ...
        data: ... and their values.
        key: The matrix's place in the file.
        lines: Its rows (CSR) or columns (CSC).

    Raises:
        CellFileError: Names the place and the value.
    """
    check_numbers(data.dtype, f"{key}/data")
    for name, dataset in (("indptr", offsets), ("indices", indices)):
        if dataset.dtype.kind not in "iu":
            problem = f"{key}/{name} holds {dataset.dtype}, not integers"
            raise CellFileError(problem, hint="write the file again with a current anndata")
    for name, dataset in (("indptr", offsets), ("indices", indices), ("data", data)):
        if len(dataset.shape) != 1:
            problem = f"{key}/{name} has {len(dataset.shape)} dimensions, expected 1"
            raise CellFileError(problem, hint="the file is damaged; write it again from its source")
    if len(indices) != len(data):
        problem = f"{key}: {len(indices):,} indices for {len(data):,} values"
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")
    indptr = read_whole(offsets, f"{key}/indptr").astype(np.int64)
    check_offsets(indptr, lines, len(data), f"{key}/indptr")
    return indptr
