"""Rows of a matrix that is stored by columns (CSC), in bounded memory.

The entries of each row are counted first. Then all entries are read once more, in stored order, and
written to a temporary file, each to the block of rows that it belongs to. A block is sorted by row
when its rows are read.
"""

from __future__ import annotations

import tempfile
import warnings
import weakref
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import read_dataset
from c2t.runtime.cells.sparse_rows import (
    ENTRIES_AT_A_TIME,
    SparseRows,
    check_rows,
    check_widest,
    concatenate_rows,
)
from c2t.runtime.system.errors import CellFileError

# About how many entries a block of rows may have: it is read and sorted as a whole.
BLOCK_ENTRIES = ENTRIES_AT_A_TIME


class ColumnSource(Protocol):
    """Entries of a matrix that are read in portions, in the order in which they are stored."""

    key: str
    shape: tuple[int, int]
    stored: int  # entries
    dtype: np.dtype[Any]  # of the values

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """The row of each of the stored entries [start, stop)."""

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
        """Stored entries [start, stop): the row, column and value of each."""


class CompressedColumns:
    """A CSC group whose entries are read in portions, in the order in which they are stored.

    Args:
        key: Its place in the file.
        shape: Cells, columns.
        indptr: [columns + 1] where the entries of each column begin.
        rows: h5py data set, the row of each entry.
        data: h5py data set, the value of each entry.
    """

    def __init__(
        self,
        key: str,
        shape: tuple[int, int],
        indptr: NDArray[np.int64],
        rows: Any,
        data: Any,
    ) -> None:
        self.key = key
        self.shape = shape
        self._indptr, self._rows, self._data = indptr, rows, data
        self.stored = int(indptr[-1])
        self.dtype: np.dtype[Any] = data.dtype

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read the row of each of the stored entries [start, stop)."""
        rows = read_dataset(self._rows, slice(start, stop), f"{self.key}/indices")
        check_rows(rows, self.shape[0], f"{self.key}/indices")
        return rows

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
        """Read stored entries [start, stop): the row, column and value of each."""
        first, last = np.searchsorted(self._indptr, (start, stop - 1), side="right") - 1
        edges = np.clip(self._indptr[first : last + 2], start, stop)
        columns = np.repeat(np.arange(first, last + 1), np.diff(edges))
        data = read_dataset(self._data, slice(start, stop), f"{self.key}/data")
        return self.read_rows(start, stop), columns.astype(np.int32), data


class TransposedRows:
    """Rows of a matrix that is stored by columns; rearranged when rows are first asked for."""

    def __init__(self, source: ColumnSource) -> None:
        self.key = source.key
        self.shape = source.shape
        self._source = source
        self._held: tuple[int, SparseRows] | None = None

    def entries(self, start: int, stop: int) -> int:
        """An upper bound of the entries in rows [start, stop)."""
        return int(self._blocks.row_begin[stop] - self._blocks.row_begin[start])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        first = self._blocks.block_row
        parts = []
        block = int(np.searchsorted(first, start, side="right")) - 1
        while start < stop:
            begin, end = int(first[block]), int(first[block + 1])
            upto = min(stop, end)
            held = self._block(block)
            span = slice(int(held.indptr[start - begin]), int(held.indptr[upto - begin]))
            indptr = held.indptr[start - begin : upto - begin + 1]
            parts.append(
                SparseRows(indptr - indptr[0], held.indices[span], held.data[span], self.shape[1])
            )
            start, block = upto, block + 1
        return concatenate_rows(parts, self.shape[1])

    @cached_property
    def _blocks(self) -> _RowBlocks:
        return _RowBlocks(self._source)

    def _block(self, block: int) -> SparseRows:
        if self._held is None or self._held[0] != block:
            self._held = None  # frees the old block before the new one is read
            self._held = (block, self._blocks.block(block))
        return self._held[1]


class _RowBlocks:
    """All entries in blocks of rows, in a temporary file that is deleted with this object."""

    def __init__(self, source: ColumnSource) -> None:
        cells, self._columns = source.shape
        slabs = range(0, source.stored, ENTRIES_AT_A_TIME)
        if len(slabs) > 1:
            warnings.warn(
                f"{source.key} is stored by genes (CSC): {source.stored:,} entries are rearranged "
                "first, which is slow; write the file with a CSR matrix to avoid it",
                stacklevel=2,
            )
        per_row = np.zeros(cells, dtype=np.int64)
        for start in slabs:
            rows = source.read_rows(start, min(start + ENTRIES_AT_A_TIME, source.stored))
            per_row += np.bincount(rows, minlength=cells)
        check_widest(per_row, self._columns, source.key)
        self.row_begin = np.concatenate(([0], np.cumsum(per_row)))
        goal = np.arange(0, max(source.stored, 1), BLOCK_ENTRIES)
        starts = np.unique(np.searchsorted(self.row_begin[1:], goal, side="right"))
        self.block_row = np.unique(np.concatenate(([0], starts[starts < cells], [cells])))
        self._record = np.dtype([("row", "<u4"), ("column", "<i4"), ("value", source.dtype)])
        # In entries: where each block begins in the file, and where its next entry goes.
        self._begin = self.row_begin[self.block_row]
        self._next = self._begin[:-1].copy()
        self._file = tempfile.TemporaryFile(prefix="c2t-cells-")  # noqa: SIM115 - open while used
        weakref.finalize(self, self._file.close)
        try:
            for start in slabs:
                self._spill(*source.read(start, min(start + ENTRIES_AT_A_TIME, source.stored)))
            self._file.flush()
        except OSError as error:
            problem = f"no room to rearrange {source.key} in {tempfile.gettempdir()}: {error}"
            hint = "set TMPDIR to a folder with space, or write the file with a CSR matrix"
            raise CellFileError(problem, hint=hint) from error

    def _spill(self, rows: NDArray[Any], columns: NDArray[np.int32], values: NDArray[Any]) -> None:
        """Append entries to their blocks in the file."""
        block = _narrow(np.searchsorted(self.block_row, rows, side="right") - 1)
        order = np.argsort(block, kind="stable")  # keeps column order within a row
        record = np.empty(len(rows), dtype=self._record)
        record["row"], record["column"], record["value"] = (
            rows[order],
            columns[order],
            values[order],
        )
        edges = np.searchsorted(block[order], np.arange(len(self.block_row)))
        for number, (begin, end) in enumerate(pairwise(edges.tolist())):
            if end > begin:
                self._file.seek(int(self._next[number]) * self._record.itemsize)
                self._file.write(record[begin:end].tobytes())
                self._next[number] += end - begin

    def block(self, block: int) -> SparseRows:
        """Read one block and sort it by row."""
        begin, end = int(self._begin[block]), int(self._begin[block + 1])
        first, after = int(self.block_row[block]), int(self.block_row[block + 1])
        self._file.seek(begin * self._record.itemsize)
        raw = self._file.read((end - begin) * self._record.itemsize)
        record = np.frombuffer(raw, dtype=self._record)
        order = np.argsort(_narrow(record["row"]), kind="stable")
        indptr = self.row_begin[first : after + 1] - begin
        return SparseRows(indptr, record["column"][order], record["value"][order], self._columns)


def _narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """The numbers in 16 bits where they fit: NumPy sorts those by radix, much faster."""
    return numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers
