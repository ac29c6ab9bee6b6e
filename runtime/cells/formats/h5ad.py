"""An `.h5ad` file, read with h5py alone, by a reader of our own.

anndata's reader is not used: it loads what it opens whole or hands out lazy objects of pandas and
SciPy, and it follows links to other files. Here every read is bounded, nothing outside the file is
touched, and each length, offset and column is checked before it is used: files come from strangers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import (
    check_dataset,
    child,
    has,
    naming,
    read_dataset,
)
from c2t.runtime.cells.formats.matrix import open_matrix
from c2t.runtime.cells.formats.protocol import Table
from c2t.runtime.cells.formats.table import H5Table, as_strings
from c2t.runtime.cells.sparse_rows import RowMatrix
from c2t.runtime.system.errors import CellFileError

UNS_TEXTS_MAX = 8  # of one entry
_TEXT_BYTES_MAX = 4096


class H5adStore:
    """An AnnData group of an opened HDF5 file: the whole of an `.h5ad` file, or a part of another.

    Args:
        file: The h5py file, which `close` closes.
        name: What messages call it.
        root: The group; the file itself if None.
        place: The group's place in the file, "" for the file itself.
    """

    silent_genes = True

    def __init__(self, file: Any, name: str, root: Any = None, place: str = "") -> None:
        self.name = name
        self.warnings: tuple[str, ...] = ()
        self._file = file
        self.root = file if root is None else root
        self._place = place
        self.obs: Table = self._table("obs")
        self._cells = self._table("obs").rows

    @property
    def locations(self) -> list[str]:
        """Where there are matrices."""
        layers, raw = self._get("layers"), self._get("raw")
        with naming(f"{self.name}: the list of matrices"):
            names = layers if hasattr(layers, "keys") else ()
            locations = [f"layers/{name}" for name in names]
        if self._has_old_raw or _has_matrix(raw, "X", f"{self._place}/raw/X"):
            locations.append("raw")
        return [*locations, "X"] if _has_matrix(self.root, "X", f"{self._place}/X") else locations

    def var(self, location: str) -> H5Table:
        """The table of genes of the matrix at a location."""
        if location != "raw":
            return self._table("var")
        return self._table("raw.var" if self._has_old_raw else "raw/var")

    def matrix(self, location: str) -> RowMatrix:
        """Open the matrix at a location."""
        path = location if location != "raw" else "raw.X" if self._has_old_raw else "raw/X"
        folder, _, name = path.partition("/")  # a layer's name may not hold a slash
        parent, name = (self._get(folder), name) if name else (self.root, path)
        shape = self._cells, self.var(location).rows
        key = f"{self._place}/{path}"
        with naming(key):
            return open_matrix(parent, name, key, shape)

    def log_base(self) -> float | None:
        """Base of the logarithm that `uns["log1p"]` says X was stored with, if any."""
        uns = self._get("uns")
        stated = child(uns, "log1p", f"{self._place}/uns/log1p") if hasattr(uns, "keys") else None
        if stated is None:
            return None
        # For the natural logarithm, scanpy writes no base or an empty one.
        key = f"{self._place}/uns/log1p/base"
        base = child(stated, "base", key) if hasattr(stated, "keys") else None
        with naming(key):
            # Numbers only: one string of a fixed length may be as long as memory.
            if base is None or getattr(base, "dtype", np.dtype("S")).kind not in "iuf":
                return logarithm_base(None)
            single = base.shape == (1,)  # how R writes a number
        base = check_dataset(base, key, dimensions=int(single))
        return logarithm_base(read_dataset(base, ..., key).item())

    def uns_text(self, name: str) -> str:
        """An entry of `uns` that is a text, such as "organism"; "" if there is none."""
        import h5py

        uns, key = self._get("uns"), f"{self._place}/uns/{name}"
        item = child(uns, name, key) if hasattr(uns, "keys") else None
        if not isinstance(item, h5py.Dataset):
            return ""
        with naming(key):
            string = h5py.check_string_dtype(item.dtype)
            few = item.ndim <= 1 and item.size is not None and item.size <= UNS_TEXTS_MAX
        # One string of a fixed length may be as long as memory.
        if string is None or not few or (string.length or 0) > _TEXT_BYTES_MAX:
            return ""
        texts = read_dataset(check_dataset(item, key, dimensions=item.ndim), ..., key)
        return " and ".join(as_strings(np.asarray(texts).reshape(-1)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def _has_old_raw(self) -> bool:
        """Whether `raw` lies where the first versions of anndata kept it."""
        return has(self.root, "raw.X", f"{self._place}/raw.X")

    def _get(self, name: str) -> Any:
        return child(self.root, name, f"{self._place}/{name}")

    def _table(self, key: str) -> H5Table:
        folder, _, name = key.rpartition("/")
        place = f"{self._place}/{key}"
        item = child(self._get(folder) if folder else self.root, name, place)
        if item is None:
            problem = f"{self.name} has no {place}: not an .h5ad file"
            raise CellFileError(problem, hint="write the cells with anndata's `write_h5ad`")
        uns = self._get("uns")
        return H5Table(item, place, uns if hasattr(uns, "keys") else None)


def _has_matrix(group: Any, name: str, key: str) -> bool:
    """Whether there is a matrix, or what should be one; anndata writes None as an empty scalar."""
    import h5py

    if not has(group, name, key):
        return False
    item = child(group, name, key)
    return not (isinstance(item, h5py.Dataset) and item.shape is None)


def logarithm_base(stated: object) -> float:
    """A base that scanpy wrote, as a number; None, or what is no base, means e."""
    try:
        base = float(stated)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return float(np.e)
    return base if np.isfinite(base) and base > 1 else float(np.e)
