"""Cells as describing takes them: an encoder's input, and what is known of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

GeneTokenArray = NDArray[np.int32]


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedCells:
    """B cells in their order.

    Args:
        ids: Their names.
        tokens: Gene tokens of each, special tokens included; of a bundle without an encoder, the
            text tokens of its whole prompt. Empty for a cell with an error.
        genes_used: [B] int64, genes of each that the model reads.
        genes_found: [B] int64, known genes of each, before the cut to the input size.
        errors: Why a cell cannot be described, None for most.
        index: [B] int64, position of each in its file, or in the list that it is from.
        first: Position of the first cell among all that a reader has selected.
    """

    ids: Sequence[str]
    tokens: Sequence[GeneTokenArray]
    genes_used: NDArray[np.int64]
    genes_found: NDArray[np.int64]
    errors: Sequence[str | None]
    index: NDArray[np.int64]
    first: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> EncodedCells:
        """Neighbouring cells: `cells[8:16]`."""
        start, stop, step = part.indices(len(self))
        if step != 1:
            problem = f"cells are taken without gaps, not by steps of {step}"
            raise ValueError(problem)
        return EncodedCells(
            ids=self.ids[start:stop],
            tokens=self.tokens[start:stop],
            genes_used=self.genes_used[start:stop],
            genes_found=self.genes_found[start:stop],
            errors=self.errors[start:stop],
            index=self.index[start:stop],
            first=self.first + start,
        )

    def with_errors(self, errors: Mapping[int, str], *, instead: bool = False) -> EncodedCells:
        """The cells, some of which have an error instead of tokens; earlier errors stay.

        Args:
            errors: What is wrong with a cell, by its place among these.
            instead: These errors take the place of earlier ones.
        """
        if not errors:
            return self
        tokens, texts, used = list(self.tokens), list(self.errors), self.genes_used.copy()
        for cell, text in errors.items():
            if instead or texts[cell] is None:
                texts[cell], tokens[cell], used[cell] = text, tokens[cell][:0].copy(), 0
        return replace(self, tokens=tokens, errors=texts, genes_used=used)

    @classmethod
    def of_tokens(
        cls,
        tokens: Sequence[Sequence[int] | GeneTokenArray],
        *,
        ids: Sequence[str] | None = None,
        errors: Sequence[str | None] | None = None,
    ) -> EncodedCells:
        """Cells whose gene tokens are known without a file.

        Args:
            tokens: Gene tokens of each; special tokens among them are counted as genes.
            ids: Their names; "0", "1", … by default.
            errors: Why a cell cannot be described; by default all can.
        """
        lengths = np.array([len(cell) for cell in tokens], dtype=np.int64)
        return cls(
            ids=ids if ids is not None else [str(number) for number in range(len(tokens))],
            tokens=[np.asarray(cell, dtype=np.int32) for cell in tokens],
            genes_used=lengths,
            genes_found=lengths,
            errors=errors if errors is not None else [None] * len(tokens),
            index=np.arange(len(tokens), dtype=np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[EncodedCells]) -> EncodedCells:
        """The cells of at least one part, one part after another, as one."""
        return cls(
            ids=[name for part in parts for name in part.ids],
            tokens=[tokens for part in parts for tokens in part.tokens],
            genes_used=np.concatenate([part.genes_used for part in parts]),
            genes_found=np.concatenate([part.genes_found for part in parts]),
            errors=[error for part in parts for error in part.errors],
            index=np.concatenate([part.index for part in parts]),
            first=parts[0].first,
        )
