"""The cells of an AnnData zarr store: its tables and matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.cells.formats.h5ad import logarithm_base
from c2t.runtime.cells.formats.matrix import (
    CompressedRows,
    DenseMatrix,
    check_shape,
    check_sparse_parts,
)
from c2t.runtime.cells.formats.opening import Opening, check_no_part, choose_part
from c2t.runtime.cells.formats.transpose import CompressedColumns, TransposedRows
from c2t.runtime.cells.formats.zarr.arrays import KeptChunks, ZarrArray
from c2t.runtime.cells.formats.zarr.table import ZarrTable
from c2t.runtime.cells.formats.zarr.tree import Tree, join
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError

# Where stores keep AnnData that is not at their root, and the usual one: MuData, SpatialData.
_INNER = {"mod": "rna", "tables": "table"}


def open_zarr(path: Path, opening: Opening) -> ZarrStore:
    """Open a folder or a zip archive.

    Raises:
        CellFileError: It holds no AnnData, or is damaged.
    """
    tree = Tree(path)
    try:
        return ZarrStore(tree, _root(tree, opening))
    except BaseException:
        tree.close()
        raise


def _root(tree: Tree, opening: Opening) -> str:
    """The place of the AnnData group in the store."""
    if not tree.kind("obs"):
        for folder, usual in _INNER.items():
            if tree.kind(folder) == "group":
                found = tree.children(folder)
                said = f"{tree.name} has {len(found):,} AnnData in /{folder}"
                return join(folder, choose_part(found, opening, said, usual=usual))
    check_no_part(opening, tree.name)
    for name in ("obs", "var"):
        if not tree.kind(name):
            shown = ", ".join(tree.children("")[:8]) or "nothing"
            problem = f"{tree.name} has no /{name}: no AnnData in this zarr store; it holds {shown}"
            raise CellFileError(problem, hint="write the cells with anndata's `write_zarr`")
    return ""


class ZarrStore:
    """The cells of a store.

    Args:
        tree: The store, which `close` closes.
        root: The place of its AnnData group.
    """

    silent_genes = True

    def __init__(self, tree: Tree, root: str) -> None:
        self.name = tree.name
        self.warnings: tuple[str, ...] = ()
        self._tree, self._root = tree, root
        self._kept = KeptChunks()
        self.obs = self._table("obs")
        self._cells = self.obs.rows

    @property
    def locations(self) -> list[str]:
        """Where there are matrices."""
        layers = self._at("layers")
        names = self._tree.children(layers) if self._tree.kind(layers) == "group" else []
        locations = [f"layers/{name}" for name in names if self._is_matrix(join(layers, name))]
        if self._is_matrix(self._at("raw/X")):
            locations.append("raw")
        return [*locations, "X"] if self._is_matrix(self._at("X")) else locations

    def var(self, location: str) -> ZarrTable:
        """The table of genes of the matrix at a location."""
        return self._table("raw/var" if location == "raw" else "var")

    def matrix(self, location: str) -> RowMatrix:
        """Open the matrix at a location."""
        place = self._at("raw/X" if location == "raw" else location)
        key, expected = f"/{place}", (self._cells, self.var(location).rows)
        if self._tree.kind(place) == "array":
            dense = ZarrArray(self._tree, place, self._kept)
            check_shape(dense.shape, expected, key)
            return DenseMatrix(dense, key)
        attributes = self._tree.attributes(place)
        layout = str(attributes.get("encoding-type", ""))[:3]
        if layout not in ("csr", "csc"):
            problem = f"{key} is neither a dense, a CSR nor a CSC matrix"
            raise CellFileError(problem, hint="write the store again with a current anndata")
        stated = attributes.get("shape", expected)
        check_shape(np.asarray(stated, dtype=object), expected, key)
        indptr, indices, data = (
            ZarrArray(self._tree, join(place, name), self._kept, whole=True)
            for name in ("indptr", "indices", "data")
        )
        lines = expected[layout == "csc"]
        begins = check_sparse_parts(indptr, indices, data, key, lines)
        if layout == "csr":
            return CompressedRows(key, expected, begins, indices, data)
        return TransposedRows(CompressedColumns(key, expected, begins, indices, data))

    def log_base(self) -> float | None:
        """Base of the logarithm that `uns["log1p"]` says X was stored with, if any."""
        place = self._at("uns/log1p")
        if not self._tree.kind(place):
            return None
        return logarithm_base(self._scalar(join(place, "base")))

    def uns_text(self, name: str) -> str:
        """An entry of `uns` that is a text, such as "organism"; "" if there is none."""
        value = self._scalar(join(self._at("uns"), name))
        return value if isinstance(value, str) else ""

    def close(self) -> None:
        """Close the archive."""
        self._tree.close()

    def _at(self, place: str) -> str:
        return join(self._root, place) if self._root else place

    def _table(self, place: str) -> ZarrTable:
        return ZarrTable(self._tree, self._at(place), self._kept)

    def _is_matrix(self, place: str) -> bool:
        """Whether there is a matrix; anndata writes None as an array that is called so."""
        encoding = self._tree.attributes(place).get("encoding-type")
        return bool(self._tree.kind(place)) and encoding != "null"

    def _scalar(self, place: str) -> Any:
        if self._tree.kind(place) != "array" or not self._is_matrix(place):
            return None
        return ZarrArray(self._tree, place, self._kept).scalar()
