"""Cells as maps from gene to count, as a service takes them.

One decision: the names that the maps have are the columns, whatever their counts, and a zero is no
entry. Unlike a file, maps may name only genes that were counted. So how many genes were looked at
is not known, and nothing may be judged by it: `silent_genes` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError

LOCATION = "counts"


class CountMaps:
    """B cells, each a map from gene to count: a store, and its only matrix.

    Args:
        rows: Their counts; genes that are left out are 0.
        genes: Names of the columns.
        ids: Names of the cells.
    """

    silent_genes = False
    name = "the request"
    warnings: tuple[str, ...] = ()
    key = LOCATION

    def __init__(self, rows: SparseRows, genes: Sequence[str], ids: Sequence[str]) -> None:
        self.obs = _Names(ids, "obs")
        self.genes = genes
        self._rows = rows

    @classmethod
    def of(cls, counts: Sequence[Mapping[str, float]], ids: Sequence[str]) -> CountMaps:
        """Cells whose maps are Python's: the count of each gene of each cell."""
        genes = list(counts[0] if len(counts) == 1 else dict.fromkeys(chain(*counts)))
        return cls(_rows(counts, genes), genes, ids)

    @property
    def locations(self) -> list[str]:
        """The only matrix."""
        return [LOCATION]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, genes that any of them names."""
        return self._rows.shape

    def var(self, location: str) -> _Names:
        """The names of the genes."""
        return _Names(self.genes, "var")

    def matrix(self, location: str) -> CountMaps:
        """The cells."""
        return self

    def entries(self, start: int, stop: int) -> int:
        """The counts of cells [start, stop) that are not zero."""
        return int(self._rows.indptr[stop] - self._rows.indptr[start])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Cells [start, stop)."""
        all_cells = self._rows
        if (start, stop) == (0, all_cells.shape[0]):
            return all_cells
        begin, end = all_cells.indptr[start], all_cells.indptr[stop]
        indptr = all_cells.indptr[start : stop + 1] - begin
        part = slice(int(begin), int(end))
        return SparseRows(indptr, all_cells.indices[part], all_cells.data[part], all_cells.columns)

    def log_base(self) -> None:
        """Maps say nothing of a logarithm."""

    def uns_text(self, name: str) -> str:
        """Maps say nothing of themselves."""
        return ""

    def close(self) -> None:
        """Do nothing: the maps are the caller's."""


class _Names:
    """A table of names without columns."""

    def __init__(self, names: Sequence[str], key: str) -> None:
        self._names, self._key = names, key
        self.columns: list[str] = []

    def index(self) -> list[str]:
        """The names."""
        return list(self._names)

    def column(self, name: str) -> list[str]:
        """There is none."""
        problem = f"{self._key}[{name!r}] is missing"
        raise CellFileError(problem, hint="counts by gene have no other names of genes or cells")


def is_count_maps(source: Any) -> bool:
    """Whether this is cells as maps."""
    return isinstance(source, CountMaps)


def _rows(counts: Sequence[Mapping[str, float]], genes: list[str]) -> SparseRows:
    lengths = np.fromiter(map(len, counts), np.int64, len(counts))
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    total = int(indptr[-1])
    if len(counts) == 1:
        data = np.fromiter(counts[0].values(), np.float64, total)
        indices: NDArray[np.int32] = np.arange(total, dtype=np.int32)
    else:
        values = chain.from_iterable(cell.values() for cell in counts)
        data = np.fromiter(values, np.float64, total)
        column = dict(zip(genes, range(len(genes)), strict=True))
        names = chain.from_iterable(counts)
        indices = np.fromiter(map(column.__getitem__, names), np.int32, total)
    rows = SparseRows(indptr, indices, data, len(genes))
    zero = data == 0
    return rows.without(zero, {}) if zero.any() else rows
