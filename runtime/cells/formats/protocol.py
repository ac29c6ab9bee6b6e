"""What every source of cells offers: tables of names, and matrices at named places.

A matrix location is "X", "raw" or "layers/NAME".
"""

from __future__ import annotations

from typing import Protocol

from c2t.runtime.cells.sparse_rows import RowMatrix


class Table(Protocol):
    """A table of cells or genes; columns come as strings."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""

    def index(self) -> list[str]:
        """The names of the rows."""

    def column(self, name: str) -> list[str]:
        """A column as strings; a missing value is an empty string."""


class CellStore(Protocol):
    """Cells with their tables and matrices."""

    name: str  # what messages call it
    silent_genes: bool  # whether genes that no cell has have a column too: true of files
    warnings: tuple[str, ...]  # what the user should know about the source as a whole

    @property
    def obs(self) -> Table:
        """The table of cells."""

    @property
    def locations(self) -> list[str]:
        """Where there are matrices: "layers/NAME", "raw", "X"."""

    def var(self, location: str) -> Table:
        """The table of genes of the matrix at a location."""

    def matrix(self, location: str) -> RowMatrix:
        """Open the matrix at a location."""

    def log_base(self) -> float | None:
        """Base of the logarithm that X was stored with, if the file says one (scanpy does)."""

    def uns_text(self, name: str) -> str:
        """An entry of `uns` that is a text, such as "organism"; "" if there is none."""

    def close(self) -> None:
        """Close the file."""
