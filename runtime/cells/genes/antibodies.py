"""Antibodies among the genes of a file that does not say what its features are.

An antibody has the name of its gene, or that name and a number ("CD4-1"), and is counted a hundred
times more: to sum the two would put the gene at the head of every cell. So of two columns of one
name, the one whose counts are far out of line is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN
from c2t.runtime.cells.sparse_rows import SparseRows

# A column is far out of line with its twin: so many times its counts, ...
RATIO = 20.0
# ... in so many of the cells, where few genes are found in all, ...
IN_CELLS = 0.8
# ... and among the highest 1 % of all columns; once some are found, others among the highest 5 %.
TOP, TOP_OF_OTHERS = 0.99, 0.95
# One such pair may be a gene with a silent copy (SOD2, IGF2). A panel has several.
PAIRS_LEAST = 2


def out_of_line(
    gene: NDArray[np.int32],
    names: Sequence[str],
    numbered: NDArray[np.int64],
    sample: SparseRows,
    total: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Say which columns look like antibodies.

    Args:
        gene: [columns] gene of each, -1 for none.
        names: [columns].
        numbered: Columns whose name is that of another one and a number.
        sample: Some cells.
        total: [columns] their sums over these cells.

    Returns:
        [columns] bool. All false unless several pairs of columns are that far out of line.
    """
    wrong = np.zeros(len(gene), dtype=bool)
    twins = _twins(gene, names, numbered)
    if len(twins) < PAIRS_LEAST or not total.any():
        return wrong
    high = _high(sample, total, TOP)
    for columns in twins:
        wrong |= _odd_one(columns, total, high)
    if wrong.sum() < PAIRS_LEAST:
        return np.zeros(len(gene), dtype=bool)
    # There is a panel: its antibodies may also be known by an old name ("CD56" for NCAM1), and they
    # stand together.
    high = _high(sample, total, TOP_OF_OTHERS)
    for columns in _same_gene(gene):
        wrong |= _odd_one(columns, total, high)
    first, last = int(np.flatnonzero(wrong)[0]), int(np.flatnonzero(wrong)[-1])
    if wrong[first : last + 1].mean() > 0.3:
        if high[last:].all():
            last = len(gene) - 1
        if high[: first + 1].all():
            first = 0
        wrong[first : last + 1] |= high[first : last + 1]
    return wrong


def antibodies_said(antibodies: NDArray[np.bool_], names: Sequence[str]) -> str:
    """Say which columns are dropped as antibodies, and what would make it sure."""
    shown = ", ".join(f"`{names[c]}`" for c in np.flatnonzero(antibodies)[:4].tolist())
    return (
        f"{int(antibodies.sum()):,} columns look like antibodies with names of genes, counted far "
        f"more often than the gene ({shown}): dropped, not summed; a column `feature_types` in var "
        "would say it for sure"
    )


def _twins(
    gene: NDArray[np.int32], names: Sequence[str], numbered: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Columns of one gene that differ in a number or in case only."""
    groups: list[NDArray[np.int64]] = []
    if len(numbered):
        genes = np.unique(gene[numbered])
        groups += [columns for columns in _same_gene(gene, genes)]
    mixed = [c for c in np.flatnonzero(gene != UNKNOWN).tolist() if not names[c].isupper()]
    if mixed:
        for columns in _same_gene(gene, np.unique(gene[mixed])):
            if len({names[c].strip().upper() for c in columns.tolist()}) == 1:
                groups.append(columns)
    return groups


def _same_gene(
    gene: NDArray[np.int32], wanted: NDArray[np.int32] | None = None
) -> list[NDArray[np.int64]]:
    """The columns of each gene that has several."""
    columns = np.flatnonzero(gene != UNKNOWN if wanted is None else np.isin(gene, wanted))
    columns = columns[np.argsort(gene[columns], kind="stable")]
    groups = np.split(columns, np.flatnonzero(np.diff(gene[columns])) + 1)
    return [group for group in groups if len(group) > 1]


def _high(sample: SparseRows, total: NDArray[np.float64], top: float) -> NDArray[np.bool_]:
    """Columns in nearly all cells that are above this quantile of all."""
    cells = np.bincount(sample.indices[np.asarray(sample.data) > 0], minlength=sample.columns)
    least = np.quantile(total[total > 0], top)
    return (cells >= IN_CELLS * sample.shape[0]) & (total >= least)


def _odd_one(
    columns: NDArray[np.int64], total: NDArray[np.float64], high: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Mark the column of one gene that is far above its others, if one is."""
    marks = np.zeros(len(total), dtype=bool)
    highest = columns[int(np.argmax(total[columns]))]
    others = float(total[columns].sum() - total[highest])
    marks[highest] = bool(high[highest]) and total[highest] >= RATIO * others
    return marks
