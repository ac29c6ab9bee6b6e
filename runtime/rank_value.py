"""Rank-value encoding: the counts of a cell become its genes, highest relative to the median first.

The order is by count / median in float64, descending; genes of exactly equal value are ordered by
their smaller token. A cell's total does not enter: it scales all values of the cell alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.genes import UNKNOWN, GeneVocabulary
from c2t.runtime.manifest import GeneInput

_Numbers = NDArray[Any]


class CountRows(Protocol):
    """B cells in compressed sparse row form; `scipy.sparse.csr_matrix` is one of them."""

    @property
    def indptr(self) -> _Numbers:
        """[B+1] integers, first 0: where each cell's entries begin."""

    @property
    def indices(self) -> _Numbers:
        """[N] integers: column of each entry."""

    @property
    def data(self) -> _Numbers:
        """[N] numbers: value of each entry."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneTokens:
    """The encoder's input for B cells.

    Args:
        tokens: B arrays of int32, special tokens included; empty for a cell with an error.
        genes_used: [B] int64, gene tokens in `tokens`, without special tokens.
        genes_found: [B] int64, genes of the vocabulary that the cell has, before the cut.
        errors: What is wrong with a cell, None for most.
    """

    tokens: list[NDArray[np.int32]]
    genes_used: NDArray[np.int64]
    genes_found: NDArray[np.int64]
    errors: list[str | None]


def encode_rank_values(
    counts: CountRows,
    column_gene: NDArray[np.int32],
    vocabulary: GeneVocabulary,
    *,
    gene_input: GeneInput,
    log_base: float | None = None,
) -> GeneTokens:
    """Encode B cells.

    Args:
        counts: Rows of the matrix: counts, or counts scaled by one factor per cell.
        column_gene: [columns] int32, gene of each column, -1 for none; columns of one gene are
            summed.
        vocabulary: The genes, with tokens and medians.
        gene_input: Longest sequence and special tokens.
        log_base: Base b of values log_b(1 + x), which are undone first; None for values as is.

    Returns:
        Tokens, or an error, of each cell; a bad cell never stops the others.
    """
    indptr = np.asarray(counts.indptr, dtype=np.int64)
    indices = np.asarray(counts.indices)
    values = np.asarray(counts.data, dtype=np.float64)
    cells = len(indptr) - 1
    row = np.repeat(np.arange(cells, dtype=np.int64), np.diff(indptr))

    if log_base is not None:
        with np.errstate(over="ignore"):  # an overflow becomes infinite, which is reported
            values = np.expm1(values * np.log(log_base))
    errors = _value_errors(values, row, cells)
    good = np.array([error is None for error in errors], dtype=bool)

    gene = column_gene[indices]
    kept = np.flatnonzero((gene != UNKNOWN) & (values > 0) & good[row])
    any_value = np.bincount(row[values != 0], minlength=cells) > 0
    row, gene, values = _sum_duplicates(row[kept], gene[kept], values[kept], len(vocabulary))

    token = vocabulary.token[gene]
    with np.errstate(over="ignore"):
        relative = values / vocabulary.median[gene]
    token = token[np.lexsort((token, -relative, row))]

    found = np.bincount(row, minlength=cells)
    for cell in np.flatnonzero(good & (found == 0)).tolist():
        errors[cell] = (
            "cell has no gene of the bundle's vocabulary" if any_value[cell] else "cell is empty"
        )
    special = [t for t in (gene_input.cls_token, gene_input.eos_token) if t is not None]
    used = np.minimum(found, max(gene_input.input_size - len(special), 0))
    return GeneTokens(
        tokens=_cut(token, found, used, gene_input),
        genes_used=used,
        genes_found=found,
        errors=errors,
    )


def _value_errors(
    values: NDArray[np.float64], row: NDArray[np.int64], cells: int
) -> list[str | None]:
    """Name, for each cell, the values that no count can have."""
    errors: list[str | None] = [None] * cells
    # The sum is not finite, or the least value negative, only if there is something to look for.
    if not values.size or (np.isfinite(values.sum()) and values.min() >= 0):
        return errors
    for what, wrong in (
        ("negative", values < 0),
        ("infinite", np.isinf(values)),
        ("NaN", np.isnan(values)),
    ):
        number = np.bincount(row[wrong], minlength=cells)
        for cell in np.flatnonzero(number).tolist():
            n = number[cell]
            errors[cell] = f"cell has {n} {what} value{'' if n == 1 else 's'}"
    return errors


def _sum_duplicates(
    row: NDArray[np.int64], gene: NDArray[np.int32], values: NDArray[np.float64], genes: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Add up the entries of one gene in one cell; entries arrive in order of `row`."""
    if len(row) < 2:
        return row, gene, values
    key = row * genes + gene
    if (key[1:] > key[:-1]).all():
        return row, gene, values
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    if len(first) == len(key):
        return row, gene, values
    taken = order[first]
    return row[taken], gene[taken], np.add.reduceat(values[order], first)


def _cut(
    token: NDArray[np.int32],
    found: NDArray[np.int64],
    used: NDArray[np.int64],
    gene_input: GeneInput,
) -> list[NDArray[np.int32]]:
    """Split the ranked tokens by cell, cut each to the input size, add the special tokens."""
    front = [] if gene_input.cls_token is None else [gene_input.cls_token]
    back = [] if gene_input.eos_token is None else [gene_input.eos_token]
    begins: Sequence[int] = (np.cumsum(found) - found).tolist()
    head, tail = np.array(front, dtype=np.int32), np.array(back, dtype=np.int32)
    empty = np.empty(0, dtype=np.int32)
    return [
        np.concatenate((head, token[begin : begin + length], tail)).astype(np.int32, copy=False)
        if length
        else empty
        for begin, length in zip(begins, used.tolist(), strict=True)
    ]
