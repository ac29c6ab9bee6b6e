"""What describing takes and gives: encoded cells, and a description of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from c2t.runtime.describe.cell_vectors import GeneTokenArray


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the model says of one cell.

    Args:
        cell: The cell's id.
        text: None where there is an error.
        confidence: Mean probability of the text's tokens; None where there is no text.
        cell_type_confidence: The same of the words that name the cell type; None where the text
            names none.
        genes_used: Genes that the encoder saw.
        error: Why there is no text; None where there is one.
        tokens: Text tokens, the EOS token included.
        steps: Decoder runs that wrote them.
        engine_failed: Whether the error is one of the engine, which may be no fault of the cell.
    """

    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    tokens: tuple[int, ...] = ()
    steps: int = 0
    engine_failed: bool = False


class Cells(Protocol):
    """A run of cells, encoded by rank value."""

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102 - the name says it
    @property
    def tokens(self) -> Sequence[GeneTokenArray]: ...  # noqa: D102 - the name says it
    @property
    def genes_used(self) -> Any: ...  # noqa: D102 - the name says it
    @property
    def errors(self) -> Sequence[str | None]: ...  # noqa: D102 - the name says it


@dataclass(frozen=True, kw_only=True)
class EncodedCells:
    """Cells in memory: gene tokens that no file is read for, or a part of a chunk.

    Args:
        ids: Of the cells.
        tokens: Gene tokens of each, special tokens included.
        genes_used: Genes of each that the encoder sees.
        errors: Why a cell cannot be described; None where it can.
    """

    ids: Sequence[str]
    tokens: Sequence[GeneTokenArray]
    genes_used: Any
    errors: Sequence[str | None]

    @classmethod
    def of_tokens(cls, tokens: Sequence[Sequence[int] | GeneTokenArray]) -> EncodedCells:
        """Cells that have gene tokens and nothing else; their numbers are their ids."""
        return cls(
            ids=[str(number) for number in range(len(tokens))],
            tokens=[np.asarray(cell, dtype=np.int32) for cell in tokens],
            genes_used=[len(cell) for cell in tokens],
            errors=[None] * len(tokens),
        )

    @classmethod
    def part_of(cls, cells: Cells, part: slice) -> EncodedCells:
        """Some neighbouring cells of a chunk."""
        return cls(
            ids=cells.ids[part],
            tokens=cells.tokens[part],
            genes_used=cells.genes_used[part],
            errors=cells.errors[part],
        )


class CellSource(Protocol):
    """A reader of cells."""

    def chunks(self) -> Iterator[Cells]: ...  # noqa: D102 - the name says it
