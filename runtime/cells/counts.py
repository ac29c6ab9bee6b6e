"""The counts of a file of cells, genes as the file names them: which matrix, and which cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.count_detection import Values, choose_counts
from c2t.runtime.cells.formats.store import CellStore, open_store
from c2t.runtime.cells.sparse_rows import SparseRows, portions
from c2t.runtime.system.errors import CellFileError

# Rows between two wanted ones that are read along: cheaper than another request.
_GAP = 32


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """How to read cells; the defaults find out by themselves.

    Args:
        layer: The matrix to take: "X", "raw", "layers/NAME" or NAME.
        values: What its values are, instead of judging them.
        gene_column: Column of the gene table with ids or symbols, "var_names" for its index.
        min_coverage: Least share of the expressed genes that the bundle must know; 0 takes any.
        cells: Only these cells: names (all cells of that name) or positions in the file.
        limit: At most this many cells, the first ones.
        filter_pass: Leave out cells whose `obs["filter_pass"]` is not 1, as Geneformer does;
            cells asked for by name or position are always kept.
    """

    layer: str | None = None
    values: Values = "auto"
    gene_column: str | None = None
    min_coverage: float = 0.10
    cells: Sequence[str] | Sequence[int] | None = None
    limit: int | None = None
    filter_pass: bool = True


class CellCounts:
    """The counts of the selected cells of a file, genes as the file names them.

    Args:
        source: Path of an `.h5ad` file, or an AnnData object.
        options: How to read it.

    Raises:
        CellFileError: No counts in it, damaged, or the selection is not in it.
    """

    def __init__(self, source: Any, options: CellOptions | None = None) -> None:
        self.options = options or CellOptions()
        self.store: CellStore = open_store(source)
        try:
            every_id = self.store.obs.index()
            self._warnings: list[str] = []
            self.cell_index = self._select(every_id)
            self.cell_ids = [every_id[position] for position in self.cell_index.tolist()]
            self._matrix, self.sample, self.counts_report = choose_counts(
                self.store, layer=self.options.layer, values=self.options.values
            )
            repeated = sum(count - 1 for count in Counter(self.cell_ids).values())
            if repeated:
                self._warnings.append(f"{repeated:,} cells have the name of an earlier cell")
        except BaseException:
            self.store.close()
            raise

    @property
    def name(self) -> str:
        """What the cells came from, for messages."""
        return self.store.name

    @property
    def n_cells(self) -> int:
        """How many cells are selected."""
        return len(self.cell_ids)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know about this input."""
        return (*self._warnings, *self.counts_report.warnings)

    @property
    def obs_columns(self) -> list[str]:
        """Columns of the table of cells."""
        return self.store.obs.columns

    def obs_column(self, name: str) -> list[str]:
        """Return a column of the table of cells, for the selected cells, as strings."""
        values = self.store.obs.column(name)
        return [values[position] for position in self.cell_index.tolist()]

    def gene_names(self, column: str | None = None) -> list[str]:
        """Return the names of the matrix's columns: those of the index, or of a table column."""
        table = self.store.var(self.counts_report.slot)
        return table.index() if column is None else table.column(column)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[SparseRows]:
        """Read the selected cells [start, stop) as stored, in portions that fit in memory."""
        stop = self.n_cells if stop is None else min(stop, self.n_cells)
        wanted = self.cell_index[start:stop]
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1):
            if not len(run):
                continue
            for begin, end in portions(self._matrix, int(run[0]), int(run[-1]) + 1):
                here = run[(run >= begin) & (run < end)]
                rows = self._matrix.rows(begin, end)
                yield rows if len(here) == end - begin else rows.take(here - begin)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def __enter__(self) -> CellCounts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, ids: list[str]) -> NDArray[np.int64]:
        """Return the positions of the wanted cells, in the order of the file."""
        options, chosen = self.options, np.arange(len(ids), dtype=np.int64)
        if options.cells is not None:
            chosen = _positions(options.cells, ids, self.store.name)
        elif options.filter_pass and "filter_pass" in self.store.obs.columns:
            passed = [v in ("1", "1.0", "True") for v in self.store.obs.column("filter_pass")]
            chosen = np.flatnonzero(passed)
            if len(chosen) < len(ids):
                left_out = len(ids) - len(chosen)
                self._warnings.append(
                    f'obs["filter_pass"] leaves out {left_out:,} of {len(ids):,} cells'
                )
        if options.limit is not None:
            chosen = chosen[: max(options.limit, 0)]
        if not len(chosen):
            problem = f"no cells to read in {self.store.name}"
            raise CellFileError(problem, hint="check `--cells`, `--limit` and obs['filter_pass']")
        return chosen


def _positions(cells: Sequence[str] | Sequence[int], ids: list[str], name: str) -> Any:
    """Turn names or positions into sorted positions without repeats."""
    numbers = [int(cell) for cell in cells if not isinstance(cell, str)]
    names = {cell for cell in cells if isinstance(cell, str)}
    outside: list[Any] = [number for number in numbers if not 0 <= number < len(ids)]
    outside += sorted(names.difference(ids))
    if outside:
        shown = ", ".join(f"`{cell}`" for cell in outside[:5])
        problem = f"{len(outside):,} of the cells asked for are not in {name}: {shown}"
        raise CellFileError(problem, hint=f"its {len(ids):,} cells have names such as `{ids[0]}`")
    numbers += [position for position, cell in enumerate(ids) if cell in names]
    return np.unique(np.asarray(numbers, dtype=np.int64))
