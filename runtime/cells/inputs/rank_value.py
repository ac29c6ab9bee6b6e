"""Rank-value encoding: the counts of a cell become its genes, highest relative to the median first.

The order is by count / median in float64, descending; genes of exactly equal value are ordered by
their smaller token. A cell's total does not enter: it scales all values of the cell alike.
`c2t.kernels.rank_value.cpu` does the work; here its results become sequences, and its states
sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.rank_value.cpu import rank_value_encode
from c2t.kernels.rank_value.types import CellStatus, CsrRows, RankedCells, RankGenes, RankOptions
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput


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


class RankEncoder:
    """Encodes cells of one file.

    Args:
        column_gene: [columns] int32, gene of each column, -1 for none; columns of one gene are
            summed.
        vocabulary: The genes, with tokens and medians.
        gene_input: Longest sequence and special tokens.
        log_base: Base b of values log_b(1 + x), which are undone first; None for values as is.
    """

    def __init__(
        self,
        column_gene: NDArray[np.int32],
        vocabulary: GeneVocabulary,
        gene_input: GeneInput,
        *,
        log_base: float | None = None,
    ) -> None:
        self._genes = RankGenes(
            column_gene=np.ascontiguousarray(column_gene, dtype=np.int32),
            token=np.ascontiguousarray(vocabulary.token, dtype=np.int32),
            median=np.ascontiguousarray(vocabulary.median, dtype=np.float64),
        )
        self._options = RankOptions(
            max_tokens=gene_input.input_size,
            cls_token=gene_input.cls_token,
            eos_token=gene_input.eos_token,
            pad_token=gene_input.pad_token,
            log_base=log_base,
        )

    def encode(self, counts: CsrRows) -> GeneTokens:
        """Encode B cells; a bad cell has an error and never stops the others.

        Args:
            counts: Rows of the matrix: counts, or counts times one factor a cell, or their log1p.
        """
        ranked = rank_value_encode(counts, self._genes, self._options)
        specials = self._options.max_tokens - self._options.max_genes
        lengths = ranked.lengths.tolist()
        return GeneTokens(
            # Copies: a view would keep the padded rows of all cells alive.
            tokens=[row[:n].copy() for row, n in zip(ranked.tokens, lengths, strict=True)],
            genes_used=np.maximum(ranked.lengths.astype(np.int64) - specials, 0),
            genes_found=ranked.genes.astype(np.int64),
            errors=_errors(counts, ranked),
        )


def encode_rank_values(
    counts: CsrRows,
    column_gene: NDArray[np.int32],
    vocabulary: GeneVocabulary,
    *,
    gene_input: GeneInput,
    log_base: float | None = None,
) -> GeneTokens:
    """Encode B cells at once; see `RankEncoder`."""
    return RankEncoder(column_gene, vocabulary, gene_input, log_base=log_base).encode(counts)


def _errors(counts: CsrRows, ranked: RankedCells) -> list[str | None]:
    """Say what is wrong with each cell."""
    errors: list[str | None] = [None] * len(ranked.status)
    for cell in np.flatnonzero(ranked.status != CellStatus.OK).tolist():
        values = counts.data[int(counts.indptr[cell]) : int(counts.indptr[cell + 1])]
        status = ranked.status[cell]
        if status == CellStatus.EMPTY:
            errors[cell] = (
                "cell has no gene of the bundle's vocabulary" if values.any() else "cell is empty"
            )
        elif status == CellStatus.NAN:
            errors[cell] = _counted(int(np.isnan(values).sum()), "NaN")
        elif status == CellStatus.NEGATIVE:
            errors[cell] = _counted(int((values < 0).sum()), "negative")
        else:
            infinite = int(np.isinf(values).sum())
            errors[cell] = (
                _counted(infinite, "infinite")
                if infinite
                else "cell has values too large to undo their logarithm"
            )
    return errors


def _counted(number: int, what: str) -> str:
    return f"cell has {number} {what} value{'' if number == 1 else 's'}"
