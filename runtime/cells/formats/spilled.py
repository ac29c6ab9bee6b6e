"""Entries of a matrix from a text, kept in a temporary file: a text cannot be read from any place.

One decision: entries are written as they come, 12 bytes each. Where they came cell by cell, as most
writers have them, a row is read straight from there; else they are rearranged (`transpose.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.transpose import TransposedRows
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, check_widest
from c2t.runtime.system.errors import CellFileError

# Of the disk with the temporary file; others need some of it too.
SPARE_BYTES = 256 << 20


class SpilledEntries:
    """The entries of a matrix in the order in which they came.

    Args:
        key: What messages call the matrix.
        dtype: Of the values: int32 or float32.
    """

    def __init__(self, key: str, dtype: str) -> None:
        self.key = key
        self.shape = (0, 0)  # until `matrix` is told
        self.stored = 0
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._record = np.dtype([("row", "<u4"), ("column", "<i4"), ("value", self.dtype)])
        self._per_row = np.zeros(0, dtype=np.int64)
        self.empty_rows = 0
        self._last_row = 0
        self._sorted = True
        self._file = tempfile.TemporaryFile(prefix="c2t-cells-")  # noqa: SIM115 - open while used
        weakref.finalize(self, self._file.close)

    def append(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[Any]
    ) -> None:
        """Keep the next entries; their rows and columns lie within the matrix.

        Raises:
            CellFileError: The disk is full.
        """
        if not len(rows):
            return
        low, high = int(rows.min()), int(rows.max())
        if high >= len(self._per_row):
            more = np.zeros(max(high + 1 - len(self._per_row), len(self._per_row)), dtype=np.int64)
            self._per_row = np.concatenate((self._per_row, more))
        self._per_row[low : high + 1] += np.bincount(rows - low, minlength=high + 1 - low)
        if self._sorted:
            self._sorted = rows[0] >= self._last_row and not (np.diff(rows) < 0).any()
            self._last_row = int(rows[-1])
        record = np.empty(len(rows), dtype=self._record)
        record["row"], record["column"], record["value"] = rows, columns, values
        check_room(self.key, len(record) * record.itemsize)
        try:
            self._file.write(record.tobytes())
        except OSError as error:
            raise no_room(self.key, error.strerror or str(error)) from error
        self.stored += len(rows)

    def matrix(self, shape: tuple[int, int]) -> RowMatrix:
        """The rows, when all entries are there.

        Args:
            shape: Cells, columns.

        Raises:
            CellFileError: A row has more entries than there are columns.
        """
        self.shape = shape
        missing = max(shape[0] - len(self._per_row), 0)
        per_row = np.pad(self._per_row, (0, missing))[: shape[0]]
        self.empty_rows = int((per_row == 0).sum())
        check_widest(per_row, shape[1], self.key)
        self._file.flush()
        return _SortedRows(self, per_row) if self._sorted else TransposedRows(self)

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """The row of each of the entries [start, stop)."""
        return np.ascontiguousarray(self.records(start, stop)["row"])

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
        """Entries [start, stop): the row, column and value of each."""
        record = self.records(start, stop)
        return record["row"], record["column"], record["value"]

    def records(self, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop) as they are kept."""
        self._file.seek(start * self._record.itemsize)
        content = self._file.read((stop - start) * self._record.itemsize)
        return np.frombuffer(content, dtype=self._record)


class _SortedRows:
    """Rows of entries that came cell by cell."""

    def __init__(self, source: SpilledEntries, per_row: NDArray[np.int64]) -> None:
        self.key, self.shape = source.key, source.shape
        self._source = source
        self._begin = np.concatenate(([0], np.cumsum(per_row)))

    def entries(self, start: int, stop: int) -> int:
        """The entries of rows [start, stop)."""
        return int(self._begin[stop] - self._begin[start])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        begin = self._begin[start]
        record = self._source.records(int(begin), int(self._begin[stop]))
        indices = np.ascontiguousarray(record["column"])
        data = np.ascontiguousarray(record["value"])
        indptr = self._begin[start : stop + 1] - begin
        return SparseRows(indptr, indices, data, self.shape[1])


def check_room(key: str, needed: int) -> None:
    """Refuse to begin what the disk of temporary files has no room for.

    Args:
        key: What is unpacked.
        needed: Bytes.

    Raises:
        CellFileError: There is not so much.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed + SPARE_BYTES:
        raise no_room(key, f"{needed:,} bytes are needed, {free:,} are free")


def no_room(key: str, why: str) -> CellFileError:
    """The error of a disk that is full."""
    problem = f"no room to unpack {key} in {tempfile.gettempdir()}: {why}"
    name = "TEMP" if os.name == "nt" else "TMPDIR"
    return CellFileError(problem, hint=f"set {name} to a folder with space")
