"""Where cells come from: an `.h5ad` file, or an AnnData object in memory, seen alike.

A store has tables of names and some matrices, each at a slot: "X", "raw", or "layers/NAME".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from c2t.runtime.cells.formats.hdf5 import check_dataset, child, naming, one_line, read_dataset
from c2t.runtime.cells.formats.matrix import open_matrix
from c2t.runtime.cells.formats.path import check_cells_path
from c2t.runtime.cells.formats.table import H5Table, as_strings
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, check_numbers, dense_to_rows
from c2t.runtime.system.errors import CellFileError


class Table(Protocol):
    """A table of cells or genes; columns come as strings."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""

    def index(self) -> list[str]:
        """Return the names of the rows."""

    def column(self, name: str) -> list[str]:
        """Return a column as strings; a missing value is an empty string."""


class CellStore(Protocol):
    """Cells with their tables and matrices."""

    name: str  # for messages
    obs: Table

    @property
    def slots(self) -> list[str]:
        """The matrices there are: "layers/NAME", "raw", "X"."""

    def var(self, slot: str) -> Table:
        """Return the table of genes that belongs to a matrix."""

    def matrix(self, slot: str) -> RowMatrix:
        """Open a matrix."""

    def log_base(self) -> float | None:
        """Return the base of the logarithm that `uns["log1p"]` says was applied to X, if any."""

    def close(self) -> None:
        """Let go of the file."""


class H5adStore:
    """An `.h5ad` file, opened for reading only."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.name = path.name
        check_cells_path(path)  # HDF5's own messages are of many lines
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            problem = f"{path} is not a readable .h5ad file: {one_line(error)}"
            raise CellFileError(problem, hint="download or write the file again") from error
        try:
            self.obs: Table = self._table("obs")
            self._cells = len(self.obs.index())
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> list[str]:
        """The matrices there are."""
        layers, raw = self._get("layers"), self._get("raw")
        with naming(f"{self.name}: the list of matrices"):
            found = [f"layers/{name}" for name in layers] if hasattr(layers, "keys") else []
            if "raw.X" in self._file or (hasattr(raw, "keys") and "X" in raw):
                found.append("raw")
            return [*found, "X"] if "X" in self._file else found

    def var(self, slot: str) -> Table:
        """Return the table of genes that belongs to a matrix."""
        if slot != "raw":
            return self._table("var")
        return self._table("raw.var" if "raw.X" in self._file else "raw/var")

    def matrix(self, slot: str) -> RowMatrix:
        """Open a matrix."""
        path = slot if slot != "raw" else "raw.X" if "raw.X" in self._file else "raw/X"
        folder, _, name = path.rpartition("/")
        parent = self._get(folder) if folder else self._file
        shape = self._cells, len(self.var(slot).index())
        with naming(f"/{path}"):
            return open_matrix(parent, name, f"/{path}", shape)

    def log_base(self) -> float | None:
        """Return the base of the logarithm that `uns["log1p"]` says was applied to X, if any."""
        uns = self._get("uns")
        stated = child(uns, "log1p", "/uns/log1p") if hasattr(uns, "keys") else None
        if stated is None:
            return None
        # scanpy writes no base, or an empty one, for the natural logarithm.
        key = "/uns/log1p/base"
        base = child(stated, "base", key) if hasattr(stated, "keys") else None
        # Numbers only: one string of a fixed length may be as long as memory.
        if base is None or getattr(base, "dtype", np.dtype("S")).kind not in "iuf":
            return _base(None)
        single = base.shape == (1,)  # how R writes a number
        base = check_dataset(base, key, dimensions=int(single))
        return _base(read_dataset(base, ..., key).item())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _get(self, name: str) -> Any:
        return child(self._file, name, f"/{name}")

    def _table(self, key: str) -> Table:
        folder, _, name = key.rpartition("/")
        item = child(self._get(folder) if folder else self._file, name, f"/{key}")
        if item is None:
            problem = f"{self.name} has no /{key}: not an .h5ad file"
            raise CellFileError(problem, hint="write the cells with anndata's `write_h5ad`")
        uns = self._get("uns")
        return H5Table(item, f"/{key}", uns if hasattr(uns, "keys") else None)


class AnnDataStore:
    """An `anndata.AnnData` object, in memory or backed."""

    def __init__(self, adata: Any) -> None:
        self.name = "AnnData object"
        self.obs: Table = _FrameTable(adata.obs, "obs")
        self._adata = adata

    @property
    def slots(self) -> list[str]:
        """The matrices there are."""
        found = [f"layers/{name}" for name in self._adata.layers]
        if self._adata.raw is not None:
            found.append("raw")
        return [*found, "X"] if self._adata.X is not None else found

    def var(self, slot: str) -> Table:
        """Return the table of genes that belongs to a matrix."""
        return _FrameTable(self._adata.raw.var if slot == "raw" else self._adata.var, "var")

    def matrix(self, slot: str) -> RowMatrix:
        """Open a matrix."""
        if slot.startswith("layers/"):
            return ArrayMatrix(self._adata.layers[slot.removeprefix("layers/")], slot)
        return ArrayMatrix(self._adata.raw.X if slot == "raw" else self._adata.X, slot)

    def log_base(self) -> float | None:
        """Return the base of the logarithm that `uns["log1p"]` says was applied to X, if any."""
        stated = self._adata.uns.get("log1p")
        if stated is None:
            return None
        return _base(stated.get("base") if hasattr(stated, "get") else None)

    def close(self) -> None:
        """Nothing to let go of: the object is the caller's."""


class ArrayMatrix:
    """A matrix held by an AnnData object: NumPy, SciPy, or one of its backed forms."""

    def __init__(self, matrix: Any, key: str) -> None:
        check_numbers(np.dtype(matrix.dtype), key)
        self.key = key
        # Rows of a matrix by columns are slow to cut: turned round once, as big as it is already.
        self._matrix = matrix.tocsr() if _is_csc_in_memory(matrix) else matrix
        self.shape: tuple[int, int] = int(matrix.shape[0]), int(matrix.shape[1])

    def entries(self, start: int, stop: int) -> int:
        """Return an upper bound of the entries in rows [start, stop)."""
        indptr = getattr(self._matrix, "indptr", None)
        if indptr is None:
            return (stop - start) * self.shape[1]
        return int(indptr[stop]) - int(indptr[start])

    def rows(self, start: int, stop: int) -> SparseRows:
        """Read rows [start, stop)."""
        block = self._matrix[start:stop]
        block = block.compute() if hasattr(block, "compute") else block  # dask
        if not hasattr(block, "tocsr"):
            return dense_to_rows(np.asarray(block))
        block = block.tocsr()
        return SparseRows(block.indptr.astype(np.int64), block.indices, block.data, self.shape[1])


class _FrameTable:
    """A pandas data frame."""

    def __init__(self, frame: Any, key: str) -> None:
        self._frame = frame
        self._key = key

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(name) for name in self._frame.columns]

    def index(self) -> list[str]:
        """Return the names of the rows."""
        return as_strings(self._frame.index.to_numpy(dtype=object))

    def column(self, name: str) -> list[str]:
        """Return a column as strings."""
        if name not in self._frame.columns:
            problem = f"{self._key}[{name!r}] is missing"
            raise CellFileError(problem, hint=f"the columns are: {', '.join(self.columns[:20])}")
        values = self._frame[name]
        return as_strings(values.astype(object).where(values.notna(), None).to_numpy(dtype=object))


def open_store(source: Any) -> CellStore:
    """Open a path or an AnnData object.

    Raises:
        CellFileError: Neither of the two, or not readable.
    """
    if isinstance(source, (str, os.PathLike)):
        return H5adStore(Path(source))
    if all(hasattr(source, part) for part in ("X", "obs", "var", "layers", "uns")):
        return AnnDataStore(source)
    problem = f"cells are a path or an AnnData object, not {type(source).__name__}"
    raise CellFileError(problem, hint="pass the path of an .h5ad file")


def _is_csc_in_memory(matrix: Any) -> bool:
    return getattr(matrix, "format", "") == "csc" and hasattr(matrix, "tocsr")


def _base(stated: object) -> float:
    """Return a base as a number; scanpy's None means e."""
    try:
        base = float(stated)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return float(np.e)
    return base if np.isfinite(base) and base > 1 else float(np.e)
