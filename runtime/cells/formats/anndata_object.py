"""An `anndata.AnnData` object of the caller, in memory or backed by a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from c2t.runtime.cells.formats.h5ad import UNS_TEXTS_MAX, logarithm_base
from c2t.runtime.cells.formats.table import as_strings
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, check_numbers, dense_to_rows
from c2t.runtime.system.errors import CellFileError


def is_anndata(source: Any) -> bool:
    """Whether this has the parts of an AnnData object; anndata itself is not imported for it."""
    return all(hasattr(source, part) for part in ("X", "obs", "var", "layers", "uns"))


class AnnDataStore:
    """The tables and matrices of an AnnData object."""

    silent_genes = True
    warnings: tuple[str, ...] = ()

    def __init__(self, adata: Any) -> None:
        self.name = "AnnData object"
        self.obs = _FrameTable(adata.obs, "obs")
        self._adata = adata

    @property
    def locations(self) -> list[str]:
        """Where there are matrices."""
        locations = [f"layers/{name}" for name in self._adata.layers]
        if self._adata.raw is not None:
            locations.append("raw")
        return [*locations, "X"] if self._adata.X is not None else locations

    def var(self, location: str) -> _FrameTable:
        """The table of genes of the matrix at a location."""
        return _FrameTable(self._adata.raw.var if location == "raw" else self._adata.var, "var")

    def matrix(self, location: str) -> RowMatrix:
        """Open the matrix at a location."""
        if location.startswith("layers/"):
            return ArrayMatrix(self._adata.layers[location.removeprefix("layers/")], location)
        return ArrayMatrix(self._adata.raw.X if location == "raw" else self._adata.X, location)

    def log_base(self) -> float | None:
        """Base of the logarithm that `uns["log1p"]` says X was stored with, if any."""
        stated = self._adata.uns.get("log1p")
        if stated is None:
            return None
        return logarithm_base(stated.get("base") if hasattr(stated, "get") else None)

    def uns_text(self, name: str) -> str:
        """An entry of `uns` that is a text, such as "organism"; "" if there is none."""
        entry = np.asarray(self._adata.uns.get(name, ""))
        texts = entry.reshape(-1).tolist() if entry.size <= UNS_TEXTS_MAX else []
        return " and ".join(text for text in texts if isinstance(text, str))

    def close(self) -> None:
        """Do nothing: the object is the caller's."""


class ArrayMatrix:
    """A matrix of an AnnData object: NumPy's, SciPy's, Dask's, or one backed by a file."""

    def __init__(self, matrix: Any, key: str) -> None:
        check_numbers(np.dtype(matrix.dtype), key)
        self.key = key
        # Cutting rows out of CSC is slow. Converted once; takes as much memory again.
        self._matrix = matrix.tocsr() if _is_csc_in_memory(matrix) else matrix
        self.shape: tuple[int, int] = int(matrix.shape[0]), int(matrix.shape[1])

    def entries(self, start: int, stop: int) -> int:
        """An upper bound of the entries in rows [start, stop)."""
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
        """The names of the rows."""
        return as_strings(self._frame.index.to_numpy(dtype=object))

    def column(self, name: str) -> list[str]:
        """A column as strings."""
        if name not in self._frame.columns:
            problem = f"{self._key}[{name!r}] is missing"
            raise CellFileError(problem, hint=f"the columns are: {', '.join(self.columns[:20])}")
        values = self._frame[name]
        return as_strings(values.astype(object).where(values.notna(), None).to_numpy(dtype=object))


def _is_csc_in_memory(matrix: Any) -> bool:
    return getattr(matrix, "format", "") == "csc" and hasattr(matrix, "tocsr")
