"""A 10x Genomics `.h5` file: CellRanger 3 and newer (`/matrix`), CellRanger 2 (a group a genome).

One decision: it is read as it lies. A matrix of genes x cells stored by columns (CSC) has the same
three arrays as one of cells x genes stored by rows.
"""

from __future__ import annotations

from typing import Any

from c2t.runtime.cells.formats.droplets import droplets_said
from c2t.runtime.cells.formats.hdf5 import (
    ROWS_MAX,
    checked_dataset,
    child,
    has,
    naming,
    read_whole,
    row_count,
)
from c2t.runtime.cells.formats.matrix import CompressedRows, sparse_parts
from c2t.runtime.cells.formats.names_table import NamesTable
from c2t.runtime.cells.formats.opening import Opening, check_no_part, choose_part
from c2t.runtime.cells.formats.table import read_texts
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError

# The features of CellRanger 3: what scanpy's `read_10x_h5` calls them, and where they lie.
_FEATURES = {"gene_ids": "id", "feature_types": "feature_type", "genome": "genome"}


def is_tenx(file: Any, names: set[str]) -> bool:
    """Whether an opened file is one of CellRanger, or of what writes as it does."""
    if "matrix" in names and has(child(file, "matrix", "/matrix"), "barcodes", "/matrix"):
        return True
    return bool(genomes(file, names))


def genomes(file: Any, names: set[str]) -> list[str]:
    """The groups of CellRanger 2: one for each genome."""
    groups = ((name, child(file, name, f"/{name}")) for name in sorted(names))
    return [
        name
        for name, group in groups
        if has(group, "barcodes", f"/{name}") and has(group, "gene_names", f"/{name}")
    ]


class TenxStore:
    """The cells of a 10x file.

    Args:
        file: The opened h5py file, which `close` closes.
        name: What messages call it.
        opening: Which genome is wanted of several.

    Raises:
        CellFileError: It is damaged, or has several genomes and none is asked for.
    """

    silent_genes = True

    def __init__(self, file: Any, name: str, opening: Opening) -> None:
        self.name = name
        self._file = file
        with naming(f"{name}: the list of its members"):
            names = set(file)
        if "matrix" in names:
            check_no_part(opening, name)
            self._place = "matrix"
        else:
            found = genomes(file, names)
            said = f"{name} has the cells of {len(found):,} genomes"
            self._place = choose_part(found, opening, said)
        self._group = child(file, self._place, f"/{self._place}")
        features, cells = self._stated_shape()
        barcodes = self._texts(self._group, "barcodes", f"/{self._place}/barcodes", cells)
        self.obs = NamesTable("obs", barcodes)
        self._var = NamesTable("var", *self._features(features))
        key = f"/{self._place}"
        parts = sparse_parts(self._group, key, cells)
        self._matrix = CompressedRows(key, (cells, features), *parts)
        empty = sum(
            int((self._matrix.lengths(start, min(start + (1 << 20), len(barcodes))) == 0).sum())
            for start in range(0, len(barcodes), 1 << 20)
        )
        self.warnings = droplets_said(name, empty=empty, barcodes=len(barcodes))

    @property
    def locations(self) -> list[str]:
        """The only matrix."""
        return ["X"]

    def var(self, location: str) -> NamesTable:
        """The table of features, called as scanpy's `read_10x_h5` calls its columns."""
        return self._var

    def matrix(self, location: str) -> RowMatrix:
        """The cells."""
        return self._matrix

    def log_base(self) -> float | None:
        """A 10x file says nothing of a logarithm."""
        return None

    def uns_text(self, name: str) -> str:
        """A 10x file says nothing of the whole but the genome of each gene."""
        return ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _texts(self, group: Any, name: str, key: str, count: int) -> list[str]:
        """So many texts; their number is looked at before they are read."""
        dataset = checked_dataset(group, name, key)
        found = row_count(dataset, key)
        if found != count:
            problem = f"{key} has {found:,} values, but the matrix has {count:,}"
            raise CellFileError(problem, hint="the file is damaged; copy it again")
        return read_texts(dataset, key)

    def _features(self, count: int) -> tuple[list[str], dict[str, list[str]]]:
        """The names of the features, and what else is known of them."""
        key = f"/{self._place}"
        if not has(self._group, "features", key):
            genes = self._texts(self._group, "gene_names", f"{key}/gene_names", count)
            columns = {"gene_ids": self._texts(self._group, "genes", f"{key}/genes", count)}
            if self._place != "matrix":
                columns["genome"] = [self._place] * count
            return genes, columns
        features = child(self._group, "features", f"{key}/features")
        genes = self._texts(features, "name", f"{key}/features/name", count)
        columns = {
            column: self._texts(features, stored, f"{key}/features/{stored}", count)
            for column, stored in _FEATURES.items()
            if has(features, stored, f"{key}/features")
        }
        return genes, columns

    def _stated_shape(self) -> tuple[int, int]:
        """Features, cells."""
        key = f"/{self._place}/shape"
        stated = checked_dataset(self._group, "shape", key)
        if row_count(stated, key) != 2:
            problem = f"{key} has {len(stated):,} numbers, expected 2"
            raise CellFileError(problem, hint="the file is damaged; copy it again")
        features, cells = read_whole(stated, key).tolist()
        if not all(type(size) is int and 0 <= size <= ROWS_MAX for size in (features, cells)):
            problem = f"{key} says {features} features and {cells} cells"
            raise CellFileError(problem, hint="the file is damaged; copy it again")
        return features, cells
