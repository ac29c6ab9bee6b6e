"""An `.h5ad` file, read with h5py alone, by a reader of our own.

anndata's reader is not used: it loads what it opens whole or hands out lazy objects of pandas and
SciPy, and it follows links to other files. Here every read is bounded, nothing outside the file is
touched, and each length, offset and column is checked before it is used: files come from strangers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import (
    H5PY_ERRORS,
    check_dataset,
    child,
    from_h5py,
    naming,
    one_line,
    read_dataset,
)
from c2t.runtime.cells.formats.matrix import open_matrix
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError


def is_path(source: Any) -> bool:
    """Whether this is a path. What the file holds is checked when it is opened."""
    return isinstance(source, (str, os.PathLike))


class H5adStore:
    """An `.h5ad` file, opened for reading only."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.name = path.name
        try:
            self._file = h5py.File(path, "r")
        except H5PY_ERRORS as error:
            if not from_h5py(error):
                raise
            problem = f"{path} is not a readable .h5ad file: {one_line(error)}"
            raise CellFileError(problem, hint="download or write the file again") from error
        try:
            self.obs = self._table("obs")
            self._cells = len(self.obs.index())
        except BaseException:
            self.close()
            raise

    @property
    def locations(self) -> list[str]:
        """Where there are matrices."""
        layers, raw = self._get("layers"), self._get("raw")
        with naming(f"{self.name}: the list of matrices"):
            names = layers if hasattr(layers, "keys") else ()
            locations = [f"layers/{name}" for name in names]
            if "raw.X" in self._file or (hasattr(raw, "keys") and "X" in raw):
                locations.append("raw")
            return [*locations, "X"] if "X" in self._file else locations

    def var(self, location: str) -> H5Table:
        """The table of genes of the matrix at a location."""
        if location != "raw":
            return self._table("var")
        return self._table("raw.var" if "raw.X" in self._file else "raw/var")

    def matrix(self, location: str) -> RowMatrix:
        """Open the matrix at a location."""
        path = location if location != "raw" else "raw.X" if "raw.X" in self._file else "raw/X"
        folder, _, name = path.rpartition("/")
        parent = self._get(folder) if folder else self._file
        shape = self._cells, len(self.var(location).index())
        with naming(f"/{path}"):
            return open_matrix(parent, name, f"/{path}", shape)

    def log_base(self) -> float | None:
        """Base of the logarithm that `uns["log1p"]` says X was stored with, if any."""
        uns = self._get("uns")
        stated = child(uns, "log1p", "/uns/log1p") if hasattr(uns, "keys") else None
        if stated is None:
            return None
        # For the natural logarithm, scanpy writes no base or an empty one.
        key = "/uns/log1p/base"
        base = child(stated, "base", key) if hasattr(stated, "keys") else None
        with naming(key):
            # Numbers only: one string of a fixed length may be as long as memory.
            if base is None or getattr(base, "dtype", np.dtype("S")).kind not in "iuf":
                return logarithm_base(None)
            single = base.shape == (1,)  # how R writes a number
        base = check_dataset(base, key, dimensions=int(single))
        return logarithm_base(read_dataset(base, ..., key).item())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _get(self, name: str) -> Any:
        return child(self._file, name, f"/{name}")

    def _table(self, key: str) -> H5Table:
        folder, _, name = key.rpartition("/")
        item = child(self._get(folder) if folder else self._file, name, f"/{key}")
        if item is None:
            problem = f"{self.name} has no /{key}: not an .h5ad file"
            raise CellFileError(problem, hint="write the cells with anndata's `write_h5ad`")
        uns = self._get("uns")
        return H5Table(item, f"/{key}", uns if hasattr(uns, "keys") else None)


def logarithm_base(stated: object) -> float:
    """A base that scanpy wrote, as a number; None, or what is no base, means e."""
    try:
        base = float(stated)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return float(np.e)
    return base if np.isfinite(base) and base > 1 else float(np.e)
