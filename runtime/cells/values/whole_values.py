"""Whether whole numbers are counts, and whether a constant was added to all values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.sparse_rows import SparseRows

FEW_CELLS = 10  # with fewer, cells cannot be compared with each other
_GENES_LEAST = 200  # of a cell whose largest value says something
_FILLED_LEAST = 1000  # of a cell whose lowest value is to tell of filled zeros
_TPM_GENES_LEAST = 10  # of a cell whose share of ones says something
_ROUNDED_LOG_MAX = 20.0  # log2 of a million
_LEAST_VARIANCE = 0.4
_TOP_GENES, _TOP_LEAST, _TOP_MEAN = 20, 5, 2.0

# Genes in at most a tenth of the cells: molecules of them are nearly always counted once.
_RARE, _RARE_LEAST, _USUAL_ONES, _FEW_ONES = 0.1, 20, 0.7, 0.45
_ROUNDING = 3e-4  # of a total of 10,000 genes, each rounded

TPM_LIKE = "normalized values that are not counts (such as TPM), rounded to whole numbers"
ROUNDED_LOGS = "rounded logarithms: whole numbers up to {most:g}, whose genes vary less than counts"


def judge_whole(
    values: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64]
) -> tuple[str, str]:
    """Tell counts from other values that were rounded to whole numbers.

    Args:
        values: [N] positive values.
        row: [N] the cell of each.
        column: [N] the gene of each.

    Returns:
        What they are instead of counts, or ""; what is doubtful about them as counts, or "".
    """
    totals = cell_totals(values, row)
    ones = np.bincount(row[values == 1], minlength=int(row.max()) + 1)
    genes = np.bincount(row)
    share = median(ones[genes > 0] / genes[genes > 0])
    most = float(values.max())
    typical, few = median(totals), len(totals) < FEW_CELLS
    # Counts: the totals of cells differ several-fold, and about half of a cell's genes are counted
    # once. Rounded TPM: each cell has nearly the same, large total, and few genes with the value 1.
    # The span of 80 % of the totals: 0.28 in TPM-like data, 0.85 and more in real counts.
    if spread(totals) < 0.4 and typical > 5e3 and share < 0.25:
        return TPM_LIKE, ""
    enough = median(genes[genes > 0])
    if few and typical > 1e4 and share < 0.25 and enough >= _TPM_GENES_LEAST:
        if np.ptp(totals) <= 0.02 * typical and (len(totals) > 1 or round_total(typical)):
            return TPM_LIKE, ""
        return "", (
            f"only {len(totals)} cell{'s' * (len(totals) > 1)}, of which few genes are counted "
            "once: taken as raw counts, but they may be rounded TPM"
        )
    if 1 < most <= _ROUNDED_LOG_MAX:
        varies = _top_genes_vary(values, row, column)
        if varies is not None and varies < _LEAST_VARIANCE:
            return ROUNDED_LOGS.format(most=most), ""
        if few and enough >= _GENES_LEAST and most < 0.007 * typical:
            return "", (
                f"no value above {most:g} in cells of {typical:,.0f} counts: taken as raw counts, "
                "but they may be rounded logarithms"
            )
    unlike = _unlike_others(values, row, column)
    if unlike:
        doubt = f"in {unlike:,} of {len(totals):,} cells looked at, rare genes are seldom counted "
        doubt += "once, as they are in the others: reads instead of molecules, or values scaled by "
        doubt += "gene length and rounded, which have lost the order of genes"
        return "", doubt
    if most == 1:
        return "", "all values are 0 or 1: the order of genes is that of their medians alone"
    return "", ""


def _unlike_others(
    values: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64]
) -> int:
    """How many cells have high values of genes that few cells have, where most cells have ones."""
    cells = int(row.max()) + 1
    if cells < 2 * FEW_CELLS:
        return 0
    rare = np.bincount(column)[column] <= _RARE * cells
    number = np.bincount(row[rare], minlength=cells)
    ones = np.bincount(row[rare & (values == 1)], minlength=cells)
    share = ones[number >= _RARE_LEAST] / number[number >= _RARE_LEAST]
    if len(share) < FEW_CELLS or np.median(share) < _USUAL_ONES:
        return 0
    unlike = int((share < _FEW_ONES).sum())
    return unlike if unlike > max(1, 0.01 * len(share)) else 0


def round_total(total: float) -> float | None:
    """The power of ten that a total is, but for the rounding of its parts; None if it is none."""
    for power in (1e4, 1e5, 1e6):
        if abs(total - power) <= _ROUNDING * power:
            return power
    return None


def background(sample: SparseRows, *, silent_genes: bool = True) -> float | None:
    """A value that fills the place of zero: counts plus one, or a logarithm with a pseudo-count.

    Without zeros, counts have few ones: where a hundredth of the genes is missing, a gene has 4.6
    molecules on average, and 1 in 22 of its values is a one.

    Args:
        sample: Some cells.
        silent_genes: Whether genes that no cell has have a column too. Without them no cell has
            zeros by itself; but different cells do not have the same genes.
    """
    values = np.asarray(sample.data, dtype=np.float64)
    cells, columns = sample.shape
    if columns < (50 if silent_genes or cells > 1 else _FILLED_LEAST):
        return None
    if not cells or len(values) < 0.99 * cells * columns:
        return None
    lowest = float(np.nanmin(values)) if not np.isnan(values).all() else 0.0
    share = float((np.abs(values - lowest) <= 1e-6 * abs(lowest)).mean())
    if lowest == 0 or not np.isfinite(lowest):
        return None
    if silent_genes or _different_cells(sample) > 1:
        return lowest if share >= 0.2 else None
    return lowest if filled_up(columns, share) else None


def filled_up(genes: int, share: float) -> bool:
    """Whether zeros of a single cell were replaced by its lowest value.

    Of the genes that a cell has, real cells count at most this share once: 0.76 of 1,000 to 2,000
    genes, 0.66 of more, 0.22 of 12,900. With 1 added to all genes it is 0.81 and more of
    the 2,000 most variable ones, 0.54 and more of whole transcriptomes.

    Args:
        genes: How many genes the cell has.
        share: How many of them have the lowest value.
    """
    return genes >= _FILLED_LEAST and share >= (0.8 if genes < 12_000 else 0.45)


def _different_cells(sample: SparseRows) -> int:
    if sample.shape[0] < 2:
        return sample.shape[0]
    values = np.asarray(sample.data, dtype=np.float64)
    marks = np.bincount(
        sample.row_index(), weights=values * (sample.indices + 1.0), minlength=sample.shape[0]
    )
    return len(np.unique(marks))


def cell_totals(values: NDArray[np.float64], row: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of the cells that have any value."""
    totals: NDArray[np.float64] = np.bincount(row, weights=values).astype(np.float64)
    return totals[totals > 0]


def median(values: NDArray[Any]) -> float:
    """The median of at least one value; NumPy's takes 20 us for a single one."""
    return float(np.median(values)) if len(values) > 1 else float(values[0])


def spread(totals: NDArray[np.float64]) -> float:
    """Width of the middle 80 % of the totals over their median; infinite for under 10 cells."""
    if len(totals) < FEW_CELLS:
        return float("inf")
    low, middle, high = np.percentile(totals, [10, 50, 90])
    return float((high - low) / middle)


def _top_genes_vary(
    values: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64]
) -> float | None:
    """Variance over mean of the genes with the highest values where they are, their median.

    Molecules are counted by chance, so the variance of a gene over cells is at least its mean: 2.7
    to 20 times in real counts; 0.6 times if only cells with a mean of 2 are left. Rounded
    logarithms have 0.1.

    Returns:
        None with fewer than 10 different cells, or fewer than 5 genes of 2 molecules and more.
    """
    totals = np.bincount(row, weights=values)
    if len(np.unique(totals[totals > 0])) < FEW_CELLS:
        return None
    cells = np.bincount(column)
    number = np.maximum(cells, 1)
    mean = np.bincount(column, weights=values) / number
    square = np.bincount(column, weights=values * values) / number
    top = np.argsort(-np.where(cells >= FEW_CELLS, mean, 0))[:_TOP_GENES]
    top = top[(mean[top] >= _TOP_MEAN) & (cells[top] >= FEW_CELLS)]
    if len(top) < _TOP_LEAST:
        return None
    return float(np.median((square[top] - mean[top] ** 2) / mean[top]))
