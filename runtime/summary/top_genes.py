"""The genes that set groups of cells apart: one pass over the counts, one simple figure.

One decision: the figure is the difference of means. Counts of a cell are scaled to 10,000 and
log1p is taken, as scanpy's tutorials do. A gene's figure is its mean in the group, less its mean in
all other cells. It is not a test and has no P value: cells of one donor are not independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.genes.feature_kinds import named_like_no_gene, read_feature_kinds
from c2t.runtime.cells.genes.species import species_of_id
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.cells.sparse_rows import SparseRows

STATISTIC = (
    "mean of log1p(counts per 10,000) in the group, less the mean in all other cells; genes seen "
    "in at least 10 % of the group's cells"
)
LEAST_CELLS = 3  # of a group: fewer have no mean to speak of
LEAST_SHARE = 0.10  # of a group's cells that must have the gene
SCALE = 10_000.0
# Columns of the gene table with names that people read, where its index has ids.
NAME_COLUMNS = (
    *("feature_name", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "symbol"),
    *("gene_short_name", "hgnc_symbol", "gene", "Gene", "name"),
)
_CHUNK = 4096  # cells that are read between two reports of progress


@dataclass(frozen=True, kw_only=True)
class TopGene:
    """A gene of a group.

    Attributes:
        name: As the file names it.
        column: Its column of the matrix.
        difference: See the head of this module.
        share: Of the group's cells that have it, 0 to 1.
    """

    name: str
    column: int
    difference: float
    share: float


def top_genes(
    counts: CellCounts,
    codes: NDArray[np.int64],
    groups: int,
    *,
    most: int = 10,
    advance: Callable[[int], None] = lambda amount: None,
) -> list[list[TopGene]]:
    """The genes of each group, the largest difference first.

    Args:
        counts: Cells; all that are selected take part.
        codes: [cells] the group of each selected cell; any other number for none.
        groups: How many there are.
        most: Genes of a group.
        advance: Told how many cells were read since its last call.

    Returns:
        One list a group; empty for a group with fewer than 3 cells, or if no cell is outside it.

    Raises:
        CellFileError: The file turns out to be damaged.
    """
    names = readable_names(counts)
    # The last line is of cells without a group.
    sums = np.zeros((groups + 1, len(names)))
    seen = np.zeros((groups + 1, len(names)), np.int64)
    cells = np.zeros(groups + 1, np.int64)
    codes = np.where((codes < 0) | (codes >= groups), groups, codes)
    done = 0
    for start in range(0, counts.n_cells, _CHUNK):
        for rows in counts.rows(start, start + _CHUNK):
            here = codes[done : done + rows.shape[0]]
            done += rows.shape[0]
            _add(counts, rows, here, (sums, seen, cells))
        advance(min(_CHUNK, counts.n_cells - start))
    genes = _genes(counts)
    every, total = sums.sum(axis=0), int(cells.sum())
    found: list[list[TopGene]] = []
    for group in range(groups):
        inside, outside = int(cells[group]), total - int(cells[group])
        if inside < LEAST_CELLS or not outside:
            found.append([])
            continue
        difference = sums[group] / inside - (every - sums[group]) / outside
        share = seen[group] / inside
        difference[~genes | (share < LEAST_SHARE)] = -np.inf
        best = np.argsort(-difference, kind="stable")[:most].tolist()
        found.append(
            [
                TopGene(
                    name=names[place],
                    column=place,
                    difference=float(difference[place]),
                    share=float(share[place]),
                )
                for place in best
                if difference[place] > 0
            ]
        )
    return found


def log_normalised(counts: CellCounts, rows: SparseRows) -> tuple[SparseRows, NDArray[np.float64]]:
    """Rows without values that are no counts, and log1p(counts per 10,000) of their entries [N]."""
    values = np.asarray(rows.data, np.float64)
    base = counts.counts_report.log_base
    with np.errstate(over="ignore", invalid="ignore"):
        if base is not None:
            values = np.expm1(values * np.log(base))
        wrong = ~(np.isfinite(values) & (values > 0))
    rows, values = rows.without(wrong, {}), values[~wrong]
    row = rows.row_index()
    total = np.bincount(row, weights=values, minlength=rows.shape[0])
    scaled: NDArray[np.float64] = np.log1p(values * (SCALE / total[row]))
    return rows, scaled


def readable_names(counts: CellCounts) -> list[str]:
    """A name for each column of the matrix: symbols, where the file has them anywhere."""
    names = counts.gene_names()
    some = names[:: max(1, len(names) // 100)]
    if sum(species_of_id(name) is not None for name in some) * 2 < len(some):
        return names
    table = counts.store.var(counts.counts_report.location)
    for column in NAME_COLUMNS:
        if column in table.columns:
            found = table.column(column)
            return [symbol or name for symbol, name in zip(found, names, strict=True)]
    return names


def _add(
    counts: CellCounts,
    rows: SparseRows,
    codes: NDArray[np.int64],
    into: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    sums, seen, cells = into
    cells += np.bincount(codes, minlength=len(cells))
    rows, values = log_normalised(counts, rows)
    place = codes[rows.row_index()] * sums.shape[1] + rows.indices
    sums += np.bincount(place, weights=values, minlength=sums.size).reshape(sums.shape)
    seen += np.bincount(place, minlength=seen.size).reshape(seen.shape)


def _genes(counts: CellCounts) -> NDArray[np.bool_]:
    """[columns] which are genes: no antibody, peak or spike-in."""
    names = counts.gene_names()
    location = counts.counts_report.location
    other = counts.store.var("X") if location == "raw" and "X" in counts.store.locations else None
    kinds = read_feature_kinds(counts.store.var(location), names, other)
    named = np.fromiter((named_like_no_gene(name, False) for name in names), bool, len(names))
    return kinds.is_gene & ~named if (kinds.is_gene & ~named).any() else ~named
