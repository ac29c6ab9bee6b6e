"""Rows of a matrix that is stored by columns (CSC): streaming, bounded memory.

The rows are counted, then the entries are dealt, in stored order, into blocks of rows in a
temporary file; a block is sorted by row when its rows are asked for.
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

from c2t.runtime.cells.sparse_rows import (
    ENTRIES_AT_A_TIME,
    SparseRows,
    check_widest,
    concatenate_rows,
)
from c2t.runtime.system.errors import CellFileError

# About how many entries a block of rows may have: it is read and sorted as a whole.
BLOCK_ENTRIES = ENTRIES_AT_A_TIME


class ColumnEntries(Protocol):
    """Entries of a matrix in column order."""

    key: str
    shape: tuple[int, int]
    stored: int
    dtype: np.dtype[Any]

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read the row of each of the stored entries [start, stop)."""

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
        """Read stored entries [start, stop): the row, column and value of each."""


class TransposedRows:
    """Rows of a matrix stored by columns.

    Args:
        source: The stored entries.
    """

    def __init__(self, source: ColumnEntries) -> None:
        self.key = source.key
        self.shape = source.shape
        self._source = source
        self._held: tuple[int, SparseRows] | None = None

    def entries(self, start: int, stop: int) -> int:
        """Return an upper bound of the entries in rows [start, stop)."""
        return int(self._deal.row_begin[stop] - self._deal.row_begin[start])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        first = self._deal.block_row
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
    def _deal(self) -> _Deal:
        return _Deal(self._source)

    def _block(self, block: int) -> SparseRows:
        if self._held is None or self._held[0] != block:
            self._held = None  # let go of the old block before the new one is made
            self._held = (block, self._deal.block(block))
        return self._held[1]


class _Deal:
    """Entries dealt into blocks of rows, in a temporary file that goes with this object."""

    def __init__(self, source: ColumnEntries) -> None:
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
        # Where each block's entries begin in the file, and where its next ones go.
        self._begin = self.row_begin[self.block_row]
        self._next = self._begin[:-1].copy()
        # Lives as long as this object, not as long as a block.
        self._file = tempfile.TemporaryFile(prefix="c2t-cells-")  # noqa: SIM115 - see above
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
    """Return the numbers in 16 bits where they fit: NumPy sorts those by radix, much faster."""
    return numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers
