"""Input and output of rank-value encoding; checked once, when the objects are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from c2t.kernels.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CsrRows(Protocol):
    """Rows of counts, such as scipy's csr_matrix; columns may be unsorted and repeated."""

    @property
    def indptr(self) -> NDArray[Any]:
        """[B + 1] where each row begins in `indices` and `data`; the first need not be 0."""

    @property
    def indices(self) -> NDArray[Any]:
        """[N] columns."""

    @property
    def data(self) -> NDArray[Any]:
        """[N] counts, or logarithms of (1 + count)."""


class CellStatus(IntEnum):
    """Why a cell has no tokens: the first of NAN, INFINITE, NEGATIVE, EMPTY that applies."""

    OK = 0
    EMPTY = 1  # nothing above zero in a gene of the vocabulary
    NAN = 2
    INFINITE = 3
    NEGATIVE = 4


@dataclass(frozen=True, kw_only=True)
class RankGenes:
    """The genes of the vocabulary, and which of them each column of the counts is.

    Args:
        column_gene: [C] int32, index of each column's gene; -1 if it is not in the vocabulary.
        token: [G] int32, token of a gene; distinct.
        median: [G] float64, the gene's non-zero median; positive.
    """

    column_gene: NDArray[np.int32]
    token: NDArray[np.int32]
    median: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, dtype in (("column_gene", np.int32), ("token", np.int32), ("median", np.float64)):
            array = getattr(self, name)
            plain = array.flags.c_contiguous and array.flags.aligned
            if array.dtype != dtype or array.ndim != 1 or not plain:
                problem = f"`{name}` is {array.dtype} {array.shape}"
                raise KernelError(problem, hint=f"give a contiguous vector of {np.dtype(dtype)}")
        genes = len(self.token)
        if len(self.median) != genes:
            problem = f"{genes} genes have tokens, {len(self.median)} have medians"
            raise KernelError(problem, hint="give one token and one median per gene")
        if not (np.isfinite(self.median) & (self.median > 0)).all():
            problem = "a gene's median is not a positive number"
            raise KernelError(problem, hint="leave out genes without a median")
        if len(self.column_gene) and not (
            int(self.column_gene.min()) >= -1 and int(self.column_gene.max()) < genes
        ):
            problem = f"`column_gene` holds indices outside -1 ... {genes - 1}"
            raise KernelError(problem, hint="-1 marks a column that is no gene of the vocabulary")

    @cached_property
    def distinct_columns(self) -> ColumnGenes | None:
        """Token and median of each column; None if two columns are the same gene.

        Also None if a token is negative, since -1 marks a column that is no gene.
        """
        known = self.column_gene[self.column_gene >= 0]
        if (np.bincount(known, minlength=1) > 1).any() or (self.token < 0).any():
            return None
        # Index -1 takes the last element: the one that stands for no gene.
        token = np.append(self.token, np.int32(-1))[self.column_gene]
        return ColumnGenes(token=token, median=np.append(self.median, 1.0)[self.column_gene])


@dataclass(frozen=True, kw_only=True)
class ColumnGenes:
    """Token and median of each column, looked up once for all cells.

    Args:
        token: [C] int32; -1 if the column is no gene of the vocabulary.
        median: [C] float64; 1 if the column is no gene of the vocabulary.
    """

    token: NDArray[np.int32]
    median: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """How cells become token sequences.

    Args:
        max_tokens: S, the longest sequence, special tokens included.
        cls_token: Put first, or None.
        eos_token: Put last, or None.
        pad_token: Fills the columns after a cell's length.
        log_base: Base b if the values are log_b(1 + count); None if they are counts.
    """

    max_tokens: int
    cls_token: int | None = None
    eos_token: int | None = None
    pad_token: int = 0
    log_base: float | None = None

    def __post_init__(self) -> None:
        if self.max_genes < 1:
            problem = f"max_tokens = {self.max_tokens} leaves no room for a gene"
            raise KernelError(problem, hint="special tokens count too")

    @property
    def max_genes(self) -> int:
        """Genes that fit beside the special tokens."""
        return self.max_tokens - (self.cls_token is not None) - (self.eos_token is not None)


@dataclass(frozen=True, kw_only=True)
class RankedCells:
    """Token sequences of B cells.

    Args:
        tokens: [B, S] int32; the pad token follows a cell's own tokens.
        lengths: [B] int32, special tokens included; 0 if the status is not OK.
        genes: [B] int32, genes above zero before truncation.
        totals: [B] float64, sum over all columns; 0 if the status is NAN, NEGATIVE or INFINITE.
        status: [B] uint8, a CellStatus each.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    genes: NDArray[np.int32]
    totals: NDArray[np.float64]
    status: NDArray[np.uint8]

    @classmethod
    def empty(cls, cells: int, options: RankOptions) -> RankedCells:
        """Uninitialised buffers; an implementation writes every element."""
        return cls(
            tokens=np.empty((cells, options.max_tokens), np.int32),
            lengths=np.empty(cells, np.int32),
            genes=np.empty(cells, np.int32),
            totals=np.empty(cells, np.float64),
            status=np.empty(cells, np.uint8),
        )
