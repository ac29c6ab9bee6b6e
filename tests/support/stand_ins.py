"""Stand-ins for AnnData objects, data frames and sparse matrices, for where there are none.

They have what tests and the reader of cells touch of anndata's, pandas' and SciPy's, under the same
names, and write `.h5ad` files of the same layout. `cell_libraries` chooses.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np

from c2t.runtime.output.h5ad_elements import write_element


class Compressed:
    """A sparse matrix: of a dense one, another sparse one, or of (data, indices, indptr)."""

    format = "csr"

    def __init__(self, source: Any, shape: tuple[int, int] | None = None, dtype: Any = None):
        if isinstance(source, tuple):
            data, indices, indptr = source
        else:
            if not isinstance(source, Compressed):
                source = np.atleast_2d(np.asarray(source))
                major, minor = np.nonzero(source if self.format == "csr" else source.T)
                at = (major, minor) if self.format == "csr" else (minor, major)
                data = source[at]
            else:
                row, column, data = source.entries()
                major, minor = (row, column) if self.format == "csr" else (column, row)
                order = np.argsort(major, kind="stable")
                major, minor, data = major[order], minor[order], data[order]
            shape = source.shape
            indices = minor
            lines = shape[0] if self.format == "csr" else shape[1]
            indptr = np.concatenate(([0], np.cumsum(np.bincount(major, minlength=lines))))
        self.data = np.asarray(data, dtype=dtype)
        self.indices = np.asarray(indices).astype(np.int32)
        self.indptr = np.asarray(indptr).astype(np.int32)
        self.shape: tuple[int, int] = shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def nnz(self) -> int:
        return len(self.data)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and value of each entry."""
        major = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        row, column = (major, self.indices) if self.format == "csr" else (self.indices, major)
        return row, column, self.data

    def toarray(self) -> np.ndarray:
        dense = np.zeros(self.shape, self.dtype)
        row, column, data = self.entries()
        np.add.at(dense, (row, column), data)
        return dense

    def tocsr(self) -> Compressed:
        return self if self.format == "csr" else Csr(self)

    def astype(self, dtype: Any) -> Compressed:
        return type(self)((self.data.astype(dtype), self.indices, self.indptr), self.shape)

    def copy(self) -> Compressed:
        return self.astype(self.dtype)

    def __getitem__(self, at: Any) -> Compressed:
        return type(self)(self.toarray()[at])


class Csr(Compressed):
    def __getitem__(self, at: Any) -> Compressed:
        if not isinstance(at, slice):
            return super().__getitem__(at)
        start, stop, _ = at.indices(self.shape[0])
        stop = max(start, stop)
        span = slice(self.indptr[start], self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - self.indptr[start]
        shape = (stop - start, self.shape[1])
        return Csr((self.data[span], self.indices[span], indptr), shape)


class Csc(Compressed):
    format = "csc"


class Index:
    """Names of rows."""

    name: str | None = None

    def __init__(self, names: Iterable[object]) -> None:
        self.names = [str(name) for name in names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, at: Any) -> Any:
        return self.names[at]

    def tolist(self) -> list[str]:
        return list(self.names)

    def to_numpy(self, dtype: Any = object) -> np.ndarray:
        return np.array(self.names, dtype=dtype)


class Categorical(list):
    """Texts that a file holds as codes."""


class Column:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def notna(self) -> np.ndarray:
        return np.array([value is not None and value == value for value in self.values], bool)

    def astype(self, dtype: Any) -> Column:
        return Column(self.values.astype(dtype))

    def where(self, kept: np.ndarray, other: Any) -> Column:
        return Column(np.where(kept, self.values, other))

    def to_numpy(self, dtype: Any = object) -> np.ndarray:
        return self.values.astype(dtype)


class Frame:
    """A table with names of rows."""

    def __init__(self, data: dict[str, Any] | None = None, index: Iterable[object] = ()) -> None:
        self._index = Index(index)
        self._columns: dict[str, Any] = {}
        for name, values in (data or {}).items():
            self[name] = values

    @property
    def index(self) -> Index:
        return self._index

    @index.setter
    def index(self, names: Iterable[object]) -> None:
        self._index = Index(names)

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    def __setitem__(self, name: str, values: Any) -> None:
        scalar = isinstance(values, (str, int, float))
        self._columns[name] = [values] * len(self._index) if scalar else values

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, list):
            return Frame({inner: self._columns[inner] for inner in name}, self._index)
        values = self._columns[name]
        texts = isinstance(values, Categorical) or any(isinstance(v, str) for v in values)
        return Column(np.array(list(values), dtype=object if texts else None))

    def cut(self, at: Any) -> Frame:
        """Some of its rows."""
        names = np.array(self._index.names, dtype=object)[at]
        cut = {
            name: Categorical(np.array(values, dtype=object)[at])
            if isinstance(values, Categorical)
            else self[name].values[at]
            for name, values in self._columns.items()
        }
        return Frame(cut, names)

    def write(self, parent: Any, key: str) -> None:
        """Write it as an element of a file."""
        group = parent.create_group(key)
        index = self._index.name or "_index"
        write_element(group, index, self._index.to_numpy())
        for name, values in self._columns.items():
            if isinstance(values, Categorical):
                _write_codes(group.create_group(name), values)
            else:
                write_element(group, name, self[name].values)
        columns = np.array(self.columns, dtype=object) if self._columns else np.zeros(0)
        group.attrs["_index"] = index
        group.attrs["column-order"] = columns
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.2.0"


class Cells:
    """Matrices with tables of their rows and columns."""

    def __init__(
        self,
        X: Any = None,  # noqa: N803 - anndata's name
        obs: Frame | None = None,
        var: Frame | None = None,
        layers: dict[str, Any] | None = None,
        uns: dict[str, Any] | None = None,
        obsm: dict[str, Any] | None = None,
    ) -> None:
        rows, columns = X.shape
        self.X = X
        self.obs = Frame(index=range(rows)) if obs is None else obs
        self.var = Frame(index=range(columns)) if var is None else var
        self.layers, self.uns = dict(layers or {}), dict(uns or {})
        self.obsm = dict(obsm or {})
        self._raw: Any = None

    @property
    def n_obs(self) -> int:
        return len(self.obs.index)

    @property
    def raw(self) -> Any:
        return self._raw

    @raw.setter
    def raw(self, cells: Cells) -> None:
        self._raw = SimpleNamespace(X=cells.X, var=cells.var)

    @raw.deleter
    def raw(self) -> None:
        self._raw = None

    @property
    def obs_names(self) -> Index:
        return self.obs.index

    @obs_names.setter
    def obs_names(self, names: Iterable[object]) -> None:
        self.obs.index = names

    @property
    def var_names(self) -> Index:
        return self.var.index

    @var_names.setter
    def var_names(self, names: Iterable[object]) -> None:
        self.var.index = names

    def __getitem__(self, at: Any) -> Cells:
        rows, columns = at if isinstance(at, tuple) else (at, slice(None))

        def cut(matrix: Any) -> Any:
            dense = matrix.toarray() if isinstance(matrix, Compressed) else matrix
            part = dense[rows][:, columns]
            return type(matrix)(part) if isinstance(matrix, Compressed) else part

        layers = {name: cut(matrix) for name, matrix in self.layers.items()}
        chosen = Cells(cut(self.X), self.obs.cut(rows), self.var.cut(columns), layers, self.uns)
        if self._raw is not None:
            whole = slice(None)
            rows_of_raw = Cells(self._raw.X, self.obs, self._raw.var)[rows, whole]
            chosen.raw = rows_of_raw
        return chosen

    def copy(self) -> Cells:
        return self[:]

    def write_h5ad(self, path: Path, compression: str | None = None) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
            if self.X is not None:
                _write_matrix(file, "X", self.X, compression)
            self.obs.write(file, "obs")
            self.var.write(file, "var")
            for name in ("layers", "obsm", "varm", "obsp", "varp"):
                write_element(file, name, {})
            for name, matrix in self.layers.items():
                _write_matrix(file["layers"], name, matrix, compression)
            for name, values in self.obsm.items():
                write_element(file["obsm"], name, values)
            if self._raw is not None:
                raw = file.create_group("raw")
                raw.attrs["encoding-type"], raw.attrs["encoding-version"] = "raw", "0.1.0"
                _write_matrix(raw, "X", self._raw.X, compression)
                self._raw.var.write(raw, "var")
                write_element(raw, "varm", {})
            write_element(file, "uns", self.uns)


def _write_codes(group: Any, values: Categorical) -> None:
    labels = sorted({value for value in values if value is not None})
    codes = [-1 if value is None else labels.index(value) for value in values]
    texts = any(isinstance(label, str) for label in labels)
    write_element(group, "categories", np.array(labels, dtype=object if texts else None))
    write_element(group, "codes", np.array(codes, dtype=np.int8))
    group.attrs["ordered"] = False
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "categorical", "0.2.0"


def _write_matrix(parent: Any, key: str, matrix: Any, compression: str | None) -> None:
    if not isinstance(matrix, Compressed):
        made = parent.create_dataset(key, data=matrix, compression=compression)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "array", "0.2.0"
        return
    group = parent.create_group(key)
    kind = f"{matrix.format}_matrix"
    group.attrs["encoding-type"], group.attrs["encoding-version"] = kind, "0.1.0"
    group.attrs["shape"] = matrix.shape
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(matrix, name), compression=compression)


def _hstack(matrices: Iterable[Compressed]) -> Compressed:
    return Csr(np.hstack([matrix.toarray() for matrix in matrices]))


anndata = SimpleNamespace(AnnData=Cells)
pd = SimpleNamespace(DataFrame=Frame, Categorical=Categorical, Series=lambda values, index: values)
sp = SimpleNamespace(csr_matrix=Csr, csc_matrix=Csc, hstack=_hstack, spmatrix=Compressed)
