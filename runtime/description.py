"""What describing takes and gives: encoded cells, and a description of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from c2t.runtime.cell_vectors import GeneTokenArray


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
    """

    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    tokens: tuple[int, ...] = ()
    steps: int = 0


class Cells(Protocol):
    """A run of cells, encoded by rank value."""

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def tokens(self) -> Sequence[GeneTokenArray]: ...  # noqa: D102
    @property
    def genes_used(self) -> Any: ...  # noqa: D102
    @property
    def errors(self) -> Sequence[str | None]: ...  # noqa: D102


class CellSource(Protocol):
    """A reader of cells."""

    def chunks(self) -> Iterator[Cells]: ...  # noqa: D102
