"""Where cells come from: one protocol for all formats, and the table of formats.

A store has tables of names and some matrices. A matrix location is "X", "raw" or "layers/NAME". A
new format is a file beside this one, and a line in `FORMATS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from c2t.runtime.cells.formats.anndata_object import AnnDataStore, is_anndata
from c2t.runtime.cells.formats.count_maps import CountMaps, is_count_maps
from c2t.runtime.cells.formats.h5ad import H5adStore, is_path
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError


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


@dataclass(frozen=True)
class CellFormat:
    """A kind of source of cells.

    Args:
        name: What it is, for messages.
        recognises: Whether a source is of this kind: by its type, or by what the file holds.
        open: Opens a source of this kind.
    """

    name: str
    recognises: Callable[[Any], bool]
    open: Callable[[Any], CellStore]


def _itself(source: CountMaps) -> CellStore:
    return source


# The first that recognises a source opens it. The last one takes every file that is left, and says
# what is wrong with it.
FORMATS = (
    CellFormat("maps of counts (`CountMaps`)", is_count_maps, _itself),
    CellFormat("an AnnData object", is_anndata, AnnDataStore),
    CellFormat("the path of an .h5ad file", is_path, H5adStore),
)


def open_store(source: Any) -> CellStore:
    """Open cells of any known format.

    Args:
        source: A path, or an AnnData object.

    Raises:
        CellFileError: Neither of the two, or not readable.
    """
    if isinstance(source, (str, os.PathLike)):
        source = Path(source)
        check_cells_path(source)
    for kind in FORMATS:
        if kind.recognises(source):
            return kind.open(source)
    known = " or ".join(kind.name for kind in FORMATS)
    problem = f"cells are {known}, not {type(source).__name__}"
    raise CellFileError(problem, hint="pass the path of an .h5ad file")
