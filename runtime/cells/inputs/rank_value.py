"""Rank-value encoding: the counts of a cell become its genes, highest relative to the median first.

The order is by count / median in float64, descending; genes of exactly equal value are ordered by
their smaller token. A cell's total does not enter: it scales all values of the cell alike.
`c2t.kernels.rank_value.cpu` does the work; here its results become sequences, and its status codes
sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.rank_value.cpu import rank_value_encode
from c2t.kernels.rank_value.types import CellStatus, CsrRows, RankedCells, RankGenes, RankOptions
from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.encoded_cells import EncodedCells


class RankValueInput:
    """Gene tokens in the order of rank values: Geneformer's input.

    Args:
        gene_input: Longest sequence and special tokens.
        vocabulary: The genes, with tokens and medians.
        column_gene: [columns] int32, gene of each column, -1 for none; columns of one gene are
            summed.
        log_base: Base b of values log_b(1 + x), which are undone first; None for values as is.
    """

    def __init__(
        self,
        gene_input: GeneInput,
        vocabulary: GeneVocabulary,
        column_gene: NDArray[np.int32],
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

    def encode(self, counts: CsrRows, species: Sequence[str] = ()) -> EncodedCells:
        """Encode B cells, which are named by their numbers.

        A cell that cannot be encoded has an error, and never stops the others.

        Args:
            counts: Rows of the matrix: counts, or counts times one factor a cell, or their log1p.
            species: Changes nothing: the vocabulary has the genes of one.
        """
        ranked = rank_value_encode(counts, self._genes, self._options)
        specials = self._options.max_tokens - self._options.max_genes
        lengths = ranked.lengths.tolist()
        # Copies: a view would keep the padded rows of all cells alive.
        tokens = [row[:n].copy() for row, n in zip(ranked.tokens, lengths, strict=True)]
        return replace(
            EncodedCells.of_tokens(tokens, errors=_errors(counts, ranked)),
            genes_used=np.maximum(ranked.lengths.astype(np.int64) - specials, 0),
            genes_found=ranked.genes.astype(np.int64),
        )


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
