"""Rank-value encoding: checks the counts, then runs the fastest implementation of this processor.

There is no CUDA version: the CPU ranks for the engines of a GPU, too.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import TYPE_NUMBER
from c2t.kernels.errors import KernelError
from c2t.kernels.native import native_kernels, thread_count
from c2t.kernels.rank_value.definition import as_counts, rank_value_encode_reference
from c2t.kernels.rank_value.types import CsrRows, RankedCells, RankGenes, RankOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What the native code reads without a copy; other dtypes become the last of these.
INDEX_DTYPES = (np.int32, np.int64)
VALUE_DTYPES = (np.float32, np.int32, np.int64, np.float64)

_POINTER = ctypes.c_void_p


class RankArguments(ctypes.Structure):
    """struct c2t_rank_args of csrc/c2t_kernels.h."""

    _fields_ = (
        ("indptr", _POINTER),
        ("indices", _POINTER),
        ("data", _POINTER),
        ("column_gene", _POINTER),
        ("token", _POINTER),
        ("median", _POINTER),
        ("tokens", _POINTER),
        ("lengths", _POINTER),
        ("genes", _POINTER),
        ("totals", _POINTER),
        ("status", _POINTER),
        ("cells", ctypes.c_int64),
        ("genes_of_vocabulary", ctypes.c_int64),
        ("max_tokens", ctypes.c_int64),
        ("cls_token", ctypes.c_int32),
        ("eos_token", ctypes.c_int32),
        ("pad_token", ctypes.c_int32),
        ("index_type", ctypes.c_int32),
        ("data_type", ctypes.c_int32),
        ("column_token", _POINTER),
        ("column_median", _POINTER),
    )


def rank_value_encode(
    counts: CsrRows, genes: RankGenes, options: RankOptions, *, threads: int | None = None
) -> RankedCells:
    """Token sequences of the cells in `counts`, by the rules of `rank_value_encode_reference`.

    Args:
        counts: B rows; anything with `indptr`, `indices` and `data` (scipy's csr_matrix).
        genes: The vocabulary, and which gene each column of the counts is.
        options: Length, special tokens, base of logarithms.
        threads: How many to use at most; None means one per core that this process may use.

    Raises:
        KernelError: A row points outside the counts, or a column outside `genes.column_gene`.
    """
    _check_rows(counts, genes)
    threads = thread_count(threads)
    kernels = native_kernels()
    if kernels is None:
        return rank_value_encode_reference(counts, genes, options)

    result = RankedCells.empty(len(counts.indptr) - 1, options)
    indptr = np.require(counts.indptr, np.int64, ("C", "A"))
    indices = _as_one_of(counts.indices, INDEX_DTYPES)
    if options.log_base is None:
        data = _as_one_of(counts.data, VALUE_DTYPES)
    else:
        data = as_counts(counts.data, options)
    distinct = genes.distinct_columns
    kernels.run(
        "c2t_rank",
        RankArguments(
            indptr=indptr.ctypes.data,
            indices=indices.ctypes.data,
            data=data.ctypes.data,
            column_gene=genes.column_gene.ctypes.data,
            token=genes.token.ctypes.data,
            median=genes.median.ctypes.data,
            tokens=result.tokens.ctypes.data,
            lengths=result.lengths.ctypes.data,
            genes=result.genes.ctypes.data,
            totals=result.totals.ctypes.data,
            status=result.status.ctypes.data,
            cells=len(indptr) - 1,
            genes_of_vocabulary=len(genes.token),
            max_tokens=options.max_tokens,
            cls_token=-1 if options.cls_token is None else options.cls_token,
            eos_token=-1 if options.eos_token is None else options.eos_token,
            pad_token=options.pad_token,
            index_type=TYPE_NUMBER[indices.dtype.name],
            data_type=TYPE_NUMBER[data.dtype.name],
            column_token=None if distinct is None else distinct.token.ctypes.data,
            column_median=None if distinct is None else distinct.median.ctypes.data,
        ),
        threads,
    )
    return result


def _as_one_of(array: NDArray[Any], dtypes: tuple[type, ...]) -> NDArray[Any]:
    """`array` itself where the native code can read it, else a copy in the last of `dtypes`."""
    readable = array.dtype in dtypes and _is_plain(array)
    return array if readable else np.require(array, dtypes[-1], ("C", "A"))


def _check_rows(counts: CsrRows, genes: RankGenes) -> None:
    """Check that every row lies inside the counts, and every column inside the genes.

    Raises:
        KernelError: One does not.
    """
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


def _is_plain(array: NDArray[Any]) -> bool:
    return array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
