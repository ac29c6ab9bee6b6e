"""The NumPy definition of rank-value encoding; the native code must give the same bits.

It is written to be read, not to be fast. It also runs where no native library could be built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.rank_value.types import CellStatus, CsrRows, RankedCells, RankGenes, RankOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rank_value_encode_reference(
    counts: CsrRows, genes: RankGenes, options: RankOptions
) -> RankedCells:
    """Rank the genes of each cell by count / median; the rules that all implementations share.

    - Values of one gene, from duplicate columns or entries, are added in stored order, in float64.
    - Genes whose sum is above zero are ordered by sum / median (float64) descending, ties by
      smaller token. The published formula also divides by the cell's total and multiplies by
      10,000; neither changes the order within a cell.
    - The first `max_genes` are kept, between the special tokens.
    - A cell has no tokens if any column holds NaN, a negative or an infinite value, or if no gene
      is above zero.
    """
    indptr = np.asarray(counts.indptr)
    result = RankedCells.empty(len(indptr) - 1, options)
    result.tokens.fill(options.pad_token)
    for cell in range(len(indptr) - 1):
        entries = slice(int(indptr[cell]), int(indptr[cell + 1]))
        values = as_counts(counts.data[entries], options)
        status = status_of(values)
        used = np.empty(0, np.int64)
        total = 0.0
        if status is CellStatus.OK:
            gene = genes.column_gene[counts.indices[entries]]
            with np.errstate(over="ignore"):
                total = float(np.add.accumulate(values)[-1]) if len(values) else 0.0
            sums = np.bincount(gene[gene >= 0], weights=values[gene >= 0])
            used = np.flatnonzero(sums)
            # The quotient of a positive finite sum may be 0 or infinite: still ordered.
            with np.errstate(over="ignore", under="ignore"):
                ratio = sums[used] / genes.median[used]
            used = used[np.lexsort((genes.token[used], -ratio))]
            if not len(used):
                status = CellStatus.EMPTY
        result.totals[cell] = total
        result.genes[cell] = len(used)
        result.status[cell] = status
        result.lengths[cell] = _write_tokens(
            result.tokens[cell], genes.token[used[: options.max_genes]], options
        )
    return result


def _write_tokens(row: NDArray[np.int32], tokens: NDArray[np.int32], options: RankOptions) -> int:
    """Put one cell's tokens and the special tokens at the front of `row`; returns how many."""
    if not len(tokens):
        return 0
    first = int(options.cls_token is not None)
    if options.cls_token is not None:
        row[0] = options.cls_token
    length = first + len(tokens)
    row[first:length] = tokens
    if options.eos_token is not None:
        row[length] = options.eos_token
        length += 1
    return length


def as_counts(values: NDArray[Any], options: RankOptions) -> NDArray[np.float64]:
    """Stored values as float64 counts.

    The native code calls this too where the values are logarithms: mathematical libraries differ
    in the last bit of expm1, and that bit decides the order of near ties.
    """
    values = values.astype(np.float64)
    if options.log_base is not None:
        with np.errstate(over="ignore"):  # an overflow becomes infinite, which is reported
            values = np.expm1(values * np.log(options.log_base))
    return values


def status_of(values: NDArray[np.float64]) -> CellStatus:
    """What is wrong with the values of a cell, or OK."""
    if np.isnan(values).any():
        return CellStatus.NAN
    if np.isinf(values).any():
        return CellStatus.INFINITE
    if (values < 0).any():
        return CellStatus.NEGATIVE
    return CellStatus.OK
