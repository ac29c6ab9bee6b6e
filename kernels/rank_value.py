"""Rank-value encoding: checks the counts, then runs the fastest implementation of this machine."""

from __future__ import annotations

import numpy as np

from c2t.kernels.errors import KernelError
from c2t.kernels.rank_types import CellStatus, CsrRows, RankedCells, RankGenes, RankOptions
from c2t.kernels.reference import rank_value_encode_reference

__all__ = [
    "CellStatus",
    "CsrRows",
    "RankGenes",
    "RankOptions",
    "RankedCells",
    "rank_value_encode",
]


def rank_value_encode(
    counts: CsrRows, genes: RankGenes, options: RankOptions, *, threads: int | None = None
) -> RankedCells:
    """Token sequences of the cells in `counts`, by the rules of `rank_value_encode_reference`.

    Args:
        counts: B rows; anything with `indptr`, `indices` and `data` (scipy's csr_matrix).
        genes: The vocabulary and the meaning of the columns.
        options: Length, special tokens, log1p.
        threads: How many to use at most; None: one per core that this process may use.

    Raises:
        KernelError: If rows point outside the counts or columns outside `genes.column_gene`.
    """
    _check_rows(counts, genes)
    return rank_value_encode_reference(counts, genes, options)


def _check_rows(counts: CsrRows, genes: RankGenes) -> None:
    indptr, stored = counts.indptr, len(counts.indices)
    if len(indptr) < 1 or len(counts.data) != stored:
        problem = f"{len(indptr)} row starts, {stored} columns, {len(counts.data)} values"
        raise KernelError(problem, hint="the counts are not a CSR matrix")
    if int(indptr[0]) < 0 or int(indptr[-1]) > stored or bool((np.diff(indptr) < 0).any()):
        problem = (
            f"row starts {int(indptr[0])} ... {int(indptr[-1])} of {stored} values, not ascending"
        )
        raise KernelError(problem, hint="the file's counts are damaged; write it again")
    used = counts.indices[int(indptr[0]) : int(indptr[-1])]
    columns = len(genes.column_gene)
    if len(used) and (int(used.min()) < 0 or int(used.max()) >= columns):
        problem = (
            f"columns {int(used.min())} ... {int(used.max())} of counts with {columns} columns"
        )
        raise KernelError(problem, hint="the file's counts are damaged; write it again")
