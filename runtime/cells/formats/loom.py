"""A Loom file: a dense matrix of genes x cells, layers like it, and attributes of both.

One decision: cells are columns of the data set, read in portions as rows are. Loom writes chunks of
64 x 64, so that costs little; a file with other chunks is read whole once for each portion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import (
    check_dataset,
    checked_dataset,
    child,
    has,
    naming,
    read_dataset,
    row_count,
)
from c2t.runtime.cells.formats.table import as_strings, read_texts
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, check_numbers, dense_to_rows
from c2t.runtime.system.errors import CellFileError

# How writers call the names of cells and of genes: loompy, scanpy, anndata, Seurat.
CELL_NAMES = ("CellID", "obs_names", "cell_names", "cell_id", "Barcode", "barcode", "barcodes")
GENE_NAMES = ("Gene", "var_names", "gene_names", "gene", "GeneName", "Accession", "gene_id")


def is_loom(names: set[str]) -> bool:
    """Whether an opened file has the parts of a Loom file."""
    return {"matrix", "row_attrs", "col_attrs"} <= names


class LoomStore:
    """The cells of a Loom file.

    Args:
        file: The opened h5py file, which `close` closes.
        name: What messages call it.

    Raises:
        CellFileError: It is damaged.
    """

    silent_genes = True

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self.warnings: tuple[str, ...] = ()
        self._file = file
        with naming("/matrix"):
            genes, cells = checked_dataset(file, "matrix", "/matrix", dimensions=2).shape
        self._shape = int(cells), int(genes)
        self.obs = AttributeTable(child(file, "col_attrs", "/col_attrs"), "/col_attrs", cells)
        self._var = AttributeTable(child(file, "row_attrs", "/row_attrs"), "/row_attrs", genes)

    @property
    def locations(self) -> list[str]:
        """The matrix is "X"; beside it there are layers, such as "spliced"."""
        layers = child(self._file, "layers", "/layers")
        with naming("/layers"):
            names = list(layers) if hasattr(layers, "keys") else []
        return [*(f"layers/{name}" for name in names if name), "X"]

    def var(self, location: str) -> AttributeTable:
        """The attributes of the genes."""
        return self._var

    def matrix(self, location: str) -> RowMatrix:
        """Open a matrix."""
        folder, _, name = location.partition("/")
        parent = child(self._file, folder, f"/{folder}") if name else self._file
        key = f"/{location}" if name else "/matrix"
        dataset = checked_dataset(parent, name or "matrix", key, dimensions=2)
        with naming(key):
            genes, cells = dataset.shape
        if (cells, genes) != self._shape:
            problem = f"{key} has {genes:,} x {cells:,} values, but there are {self._shape[1]:,} "
            problem += f"genes and {self._shape[0]:,} cells"
            raise CellFileError(problem, hint="the file is damaged; write it again")
        return ColumnsMatrix(dataset, key)

    def log_base(self) -> float | None:
        """A Loom file says nothing of a logarithm."""
        return None

    def uns_text(self, name: str) -> str:
        """A global attribute that is a text: "species", "organism"."""
        attributes = child(self._file, "attrs", "/attrs")
        for stored in (name, name.capitalize()):
            if has(attributes, stored, "/attrs"):
                return _single_text(child(attributes, stored, f"/attrs/{stored}"), stored)
        return ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AttributeTable:
    """The attributes of cells or of genes, one data set each.

    Args:
        group: The h5py group.
        key: Its place in the file.
        rows: Cells or genes of the matrix.

    Raises:
        CellFileError: It has no names.
    """

    def __init__(self, group: Any, key: str, rows: int) -> None:
        self.key, self.rows = key, int(rows)
        self._group = group
        self._columns = self._one_dimensional()
        wanted = CELL_NAMES if key == "/col_attrs" else GENE_NAMES
        found = [name for name in wanted if name in self._columns]
        if not found:
            shown = ", ".join(self._columns[:12]) or "nothing"
            problem = f"{key} has no names: none of {', '.join(wanted)}; it holds {shown}"
            raise CellFileError(problem, hint=f"write the names into {key}/{wanted[0]}")
        self._index = found[0]

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        return [name for name in self._columns if name != self._index]

    def index(self) -> list[str]:
        """The names of the rows."""
        return self._read(self._index)

    def column(self, name: str) -> list[str]:
        """A column as strings.

        Raises:
            CellFileError: There is no such column, or it is damaged.
        """
        if name not in self._columns:
            shown = ", ".join(self.columns[:20])
            problem = f"{self.key}/{name} is missing"
            raise CellFileError(problem, hint=f"the columns are: {shown}")
        return self._read(name)

    def _read(self, name: str) -> list[str]:
        key = f"{self.key}/{name}"
        dataset = checked_dataset(self._group, name, key)
        count = row_count(dataset, key)
        if count != self.rows:
            problem = f"{key} has {count:,} values for {self.rows:,} rows of the matrix"
            raise CellFileError(problem, hint="the file is damaged; write it again")
        return read_texts(dataset, key)

    def _one_dimensional(self) -> list[str]:
        """Attributes with one value for each; graphs and planes have several."""
        with naming(self.key):
            names = list(self._group) if hasattr(self._group, "keys") else []
        return [
            name
            for name in names
            if len(getattr(child(self._group, name, f"{self.key}/{name}"), "shape", None) or ())
            == 1
        ]


class ColumnsMatrix:
    """A dense data set of genes x cells, whose columns are read as rows."""

    def __init__(self, dataset: Any, key: str) -> None:
        check_numbers(dataset.dtype, key)
        self.key = key
        self._dataset = dataset

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, genes."""
        genes, cells = self._dataset.shape
        return int(cells), int(genes)

    def entries(self, start: int, stop: int) -> int:
        """How many numbers cells [start, stop) have, zeros included."""
        return (stop - start) * self.shape[1]

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read cells [start, stop)."""
        block = read_dataset(self._dataset, (slice(None), slice(start, stop)), self.key)
        return dense_to_rows(np.ascontiguousarray(block.T))


def _single_text(item: Any, name: str) -> str:
    """A global attribute, if it is one short text."""
    import h5py

    key = f"/attrs/{name}"
    if not isinstance(item, h5py.Dataset):
        return ""
    with naming(key):
        string = h5py.check_string_dtype(item.dtype)
        single = item.shape in ((), (1,))
    if string is None or not single or (string.length or 0) > 4096:
        return ""
    values = read_dataset(check_dataset(item, key, dimensions=item.ndim), ..., key)
    return " and ".join(as_strings(np.asarray(values).reshape(-1)))
