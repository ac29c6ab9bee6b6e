"""Rows of a matrix of cells x genes, how to read them in bounded portions, and checks of them.

The rows are a class of our own, not SciPy's `csr_matrix`, which would do as well: reading the real
files and 200,000 generated cells takes 0.94 to 1.06 of the time with it. But importing SciPy takes
110 ms, as long as NumPy and h5py together, and describing needs nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import CellFileError

# Entries in memory at a time: 4 Mi x (4 bytes of column + 8 of value), and their encoding.
ENTRIES_AT_A_TIME = 1 << 22


@dataclass(frozen=True, eq=False)
class SparseRows:
    """B cells in compressed sparse row form: N entries, as `scipy.sparse.csr_matrix` has them.

    Args:
        indptr: [B+1] int64, where the entries of each row begin; the first is 0.
        indices: [N] column of each entry, within the matrix.
        data: [N] value of each entry, as stored.
        columns: Columns of the matrix.
        damaged: What is wrong with a row as it was stored, by its number; most have nothing.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    data: NDArray[Any]
    columns: int
    damaged: Mapping[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, columns."""
        return len(self.indptr) - 1, self.columns

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The entries of each row, [B]."""
        return self.indptr[1:] - self.indptr[:-1]

    def row_index(self) -> NDArray[np.int64]:
        """The row of each entry, [N]."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int64), self.lengths)

    def take(self, rows: NDArray[np.int64]) -> SparseRows:
        """Some of the rows, in the order given."""
        lengths = self.lengths[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        entry = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        damaged = {}
        if self.damaged:
            places = enumerate(rows.tolist())
            damaged = {n: self.damaged[row] for n, row in places if row in self.damaged}
        return SparseRows(indptr, self.indices[entry], self.data[entry], self.columns, damaged)

    def without(self, entries: NDArray[np.bool_], damaged: Mapping[int, str]) -> SparseRows:
        """The rows without some of their entries.

        Args:
            entries: [N] which to leave out.
            damaged: What is wrong with rows, besides what is known already.
        """
        row = self.row_index()
        lengths = self.lengths - np.bincount(row[entries], minlength=self.shape[0])
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        indices, data = self.indices[~entries], self.data[~entries]
        return SparseRows(indptr, indices, data, self.columns, {**self.damaged, **damaged})


class RowMatrix(Protocol):
    """A matrix whose rows can be read in contiguous portions."""

    key: str  # where it is in the file, for messages: "/raw/X"

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, columns."""

    def entries(self, start: int, stop: int) -> int:
        """An upper bound of the entries in rows [start, stop)."""

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""


def dense_to_rows(block: NDArray[Any]) -> SparseRows:
    """The entries of a dense block that are not zero, NaN among them."""
    row, column = np.nonzero(block)
    indptr = np.zeros(len(block) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(block)), out=indptr[1:])
    return SparseRows(indptr, column.astype(np.int32), block[row, column], block.shape[1])


def concatenate_rows(parts: Sequence[SparseRows], columns: int) -> SparseRows:
    """Portions of rows, one below the other."""
    if len(parts) == 1:
        return parts[0]
    lengths = [part.lengths for part in parts]
    indptr = np.concatenate(([0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))))
    if not parts:
        return SparseRows(indptr, np.zeros(0, np.int32), np.zeros(0, np.float32), columns)
    first = np.cumsum([0, *(part.shape[0] for part in parts)]).tolist()
    return SparseRows(
        indptr,
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.data for part in parts]),
        columns,
        {at + row: e for at, p in zip(first, parts, strict=False) for row, e in p.damaged.items()},
    )


def check_numbers(dtype: np.dtype[Any], key: str) -> None:
    """Refuse a dtype that is neither a number nor boolean.

    Raises:
        CellFileError: Names the place.
    """
    if dtype.kind not in "biuf":
        problem = f"{key} holds {dtype}, not numbers"
        raise CellFileError(problem, hint="the matrix must be an integer or floating-point array")


def leave_out_strangers(rows: SparseRows, key: str) -> SparseRows:
    """Leave out entries whose column is outside the matrix; their rows count as damaged.

    Nothing later checks columns again.

    Args:
        rows: As they are stored.
        key: The place of their columns in the file.
    """
    if not rows.indices.size:
        return rows
    columns = rows.columns
    if int(rows.indices.min()) >= 0 and int(rows.indices.max()) < columns:
        return rows
    outside = (rows.indices < 0) | (rows.indices >= columns)
    damaged = {
        row: f"{key}: column {column} is outside the matrix of {columns:,} columns"
        for row, column in zip(
            rows.row_index()[outside].tolist(), rows.indices[outside].tolist(), strict=True
        )
    }
    return rows.without(outside, damaged)


def check_rows(indices: NDArray[Any], rows: int, key: str) -> None:
    """Refuse entries of no row of the matrix. Nothing later checks them again.

    Args:
        indices: Rows of entries.
        rows: How many there are.
        key: The place in the file.

    Raises:
        CellFileError: Names the place and the value.
    """
    if not indices.size:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= rows:
        wrong = low if low < 0 else high
        problem = f"{key}: row {wrong} is outside the matrix of {rows:,} rows"
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")


def check_offsets(indptr: NDArray[np.int64], lines: int, entries: int, key: str) -> None:
    """Refuse offsets that do not cut `entries` entries into `lines` rows or columns.

    Raises:
        CellFileError: Names the place and the value.
    """
    problem = ""
    if indptr.shape != (lines + 1,):
        problem = f"{key} has shape {indptr.shape}, expected ({lines + 1},)"
    elif indptr[0] != 0 or indptr[-1] != entries:
        problem = f"{key} runs from {indptr[0]} to {indptr[-1]}, expected 0 to {entries}"
    elif (np.diff(indptr) < 0).any():
        at = int(np.flatnonzero(np.diff(indptr) < 0)[0])
        problem = f"{key} decreases from {indptr[at]} to {indptr[at + 1]} at {at}"
    if problem:
        raise CellFileError(problem, hint="the file is damaged; write it again from its source")


def check_widest(entries_per_row: NDArray[np.int64], columns: int, key: str) -> None:
    """Refuse a row with more entries than columns, so that the memory of a cell is bounded.

    Raises:
        CellFileError: Names the place and the value.
    """
    widest = int(entries_per_row.max(initial=0))
    if widest > columns:
        problem = f"{key}: a row has {widest:,} entries, but there are {columns:,} columns"
        raise CellFileError(problem, hint="sum duplicate entries of the matrix and write it again")


def portions(matrix: RowMatrix, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut rows [start, stop) into portions of at most `ENTRIES_AT_A_TIME` entries, or one row."""
    while start < stop:
        end = stop
        while end - start > 1 and matrix.entries(start, end) > ENTRIES_AT_A_TIME:
            end = start + (end - start) // 2
        yield start, end
        start = end
