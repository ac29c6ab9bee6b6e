"""Gene sentences: a cell becomes the text tokens of a whole prompt, its genes named in it.

The genes of a cell are ordered by their values, the largest first; of equal ones the smaller
symbol, byte by byte. That is the order of normalised and log-transformed counts as well: within a
cell both keep it (Cell2Sentence; its published code breaks ties at random). Where the bundle has a
list of genes, its order is taken instead (CellReasoner).

One decision: the prompt is made into tokens here, where the cell is read. So whatever carries a
cell's tokens from here to a decoder carries gene sentences too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.template import Template, cell_lines, fill_template
from c2t.runtime.bundle.text_encoder import TextEncoder
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import C2TError

EMPTY: NDArray[np.int32] = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, eq=False, kw_only=True)
class SentencePrompts:
    """What makes a prompt of a sentence.

    Args:
        sentence: Of the manifest.
        template: Likewise.
        encoder: Makes text tokens.
        values: Fields that are the same for all cells: a question.
        listed: The bundle's list of genes; empty: it has none.
    """

    sentence: GeneSentence
    template: Template
    encoder: TextEncoder
    values: Mapping[str, str]
    listed: tuple[str, ...] = ()

    def tokens(self, symbols: Sequence[str], species: str) -> NDArray[np.int32]:
        """Text tokens [T] int32 of the prompt of a cell with these genes.

        Raises:
            C2TError: More than the prompt may have.
        """
        cell = {
            "genes": self.sentence.separator.join(symbols),
            "count": str(len(symbols)),
            "organism": self.sentence.organisms[species],
            "cells": cell_lines([symbols], self.sentence.separator),
        }
        (ids,) = fill_template(self.template, self.encoder, {**self.values, **cell})
        return np.array(ids, dtype=np.int32)


class GeneSentenceInput:
    """Text tokens of prompts: Cell2Sentence's input.

    Args:
        prompts: Makes them.
        symbols: Each once, sorted by their bytes; or the bundle's list.
        column_symbol: [columns] int32, symbol of each column, -1 for none; columns of one symbol,
            and entries of one column, are summed.
        log_base: Base b of values log_b(1 + x); None for values as is.
    """

    def __init__(
        self,
        prompts: SentencePrompts,
        symbols: Sequence[str],
        column_symbol: NDArray[np.int32],
        *,
        log_base: float | None = None,
    ) -> None:
        self._prompts, self._symbols, self._column = prompts, symbols, column_symbol
        self._log_base = log_base
        self._no_genes = "cell has no gene with a name"
        if prompts.listed:
            self._no_genes = "cell has none of the genes that the bundle reads"

    def encode(self, counts: SparseRows, species: Sequence[str]) -> EncodedCells:
        """Encode B cells, which are named by their numbers.

        A cell that cannot be encoded has an error, and never stops the others.

        Args:
            counts: Rows of the matrix: counts, or counts times one factor a cell, or their log1p.
            species: Of each cell, by its name.
        """
        tokens, errors = list[NDArray[np.int32]](), list[str | None]()
        used, found = list[int](), list[int]()
        for cell, of_cell in enumerate(species):
            part = slice(int(counts.indptr[cell]), int(counts.indptr[cell + 1]))
            values = np.asarray(counts.data[part], dtype=np.float64)
            error = _error(values)
            genes = [] if error else self._ranked(counts.indices[part], values)
            chosen = genes[: self._prompts.sentence.genes]
            ids = EMPTY
            if not error and not chosen:
                error = self._no_genes if values.any() else "cell is empty"
            if not error:
                try:
                    ids = self._prompts.tokens([self._symbols[gene] for gene in chosen], of_cell)
                except C2TError as problem:
                    error = f"cell has no prompt: {problem.problem}"
            tokens.append(ids)
            errors.append(error)
            used.append(0 if error else len(chosen))
            found.append(len(genes))
        return replace(
            EncodedCells.of_tokens(tokens, errors=errors),
            genes_used=np.array(used, dtype=np.int64),
            genes_found=np.array(found, dtype=np.int64),
        )

    def _ranked(self, columns: NDArray[np.integer], values: NDArray[np.float64]) -> list[int]:
        """The symbols of a cell, the largest value first or as listed; zeros never."""
        symbol = self._column[columns]
        here = (symbol >= 0) & (values > 0)
        symbol, values = symbol[here], values[here]
        if self._prompts.listed:
            listed: list[int] = np.unique(symbol).tolist()
            return listed
        once, place = np.unique(symbol, return_inverse=True)
        if len(once) < len(symbol):
            if self._log_base is not None:  # logarithms cannot be added
                values = np.expm1(values * np.log(self._log_base))
            symbol = once
            values = np.bincount(place, weights=values, minlength=len(once)).astype(np.float64)
        ranked: list[int] = symbol[np.lexsort((symbol, -values))].tolist()
        return ranked


def _error(values: NDArray[np.float64]) -> str | None:
    """What is wrong with the values of a cell."""
    for what, wrong in (
        ("NaN", np.isnan(values)),
        ("negative", values < 0),
        ("infinite", np.isinf(values)),
    ):
        if number := int(wrong.sum()):
            return f"cell has {number} {what} value{'' if number == 1 else 's'}"
    return None
