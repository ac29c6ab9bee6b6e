"""The tables of cells and genes (`obs`, `var`) of an `.h5ad` file, one column at a time.

Read with h5py in every encoding that anndata has written: groups of columns (0.1 and 0.2), and the
compound data set of its first versions. Columns come as strings, which is all that names need.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.cells.formats.hdf5 import (
    check_dataset,
    checked_dataset,
    child,
    has,
    naming,
    read_portions,
    read_whole,
    row_count,
)
from c2t.runtime.system.errors import CellFileError

_DAMAGED = "the file is damaged; write it again with a current anndata"


class H5Table:
    """A table inside a file.

    Args:
        item: The h5py group or compound data set.
        key: Its place in the file, for messages.
        legacy_categories: The file's `uns`, where the first versions kept categories.
    """

    def __init__(self, item: Any, key: str, legacy_categories: Any = None) -> None:
        import h5py

        self.key = key
        self._item = item
        self._legacy = legacy_categories
        self._compound = isinstance(item, h5py.Dataset)
        if self._compound and not check_dataset(item, key).dtype.names:
            problem = f"{key} is not a table"
            raise CellFileError(problem, hint=_DAMAGED)
        self.index_name = self._find_index_name()

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        with naming(self.key):
            names = self._item.dtype.names if self._compound else list(self._item)
        return [name for name in names if name not in (self.index_name, "__categories")]

    def index(self) -> list[str]:
        """The names of the rows."""
        return self._read(self.index_name)

    def column(self, name: str) -> list[str]:
        """A column as strings; a missing value is an empty string.

        Raises:
            CellFileError: There is no such column, or it is damaged.
        """
        values = self._read(name)
        if len(values) != self.rows:
            problem = f"{self.key}/{name} has {len(values):,} values for {self.rows:,} rows"
            raise CellFileError(problem, hint=_DAMAGED)
        return values

    def categorical(self, name: str, *, most: int) -> tuple[list[str], NDArray[np.int64]] | None:
        """The labels of a categorical column, and each row's place among them; -1: it has none.

        Args:
            name: The column.
            most: A column with more labels is not read.

        Returns:
            None where the column is not categorical, or has more labels.

        Raises:
            CellFileError: It is damaged.
        """
        key = f"{self.key}/{name}"
        if self._compound or not has(child(self._item, name, key), "codes", key):
            return None
        group = child(self._item, name, key)
        stored = child(group, "categories", f"{key}/categories")
        with naming(key):
            if hasattr(stored, "shape") and (len(stored.shape) != 1 or stored.shape[0] > most):
                return None
        labels = self._category_labels(group, f"{key}/categories")
        if len(labels) > most:
            return None
        codes = read_whole(checked_dataset(group, "codes", f"{key}/codes"), f"{key}/codes")
        _check_codes(labels, codes, key)
        return labels, np.maximum(codes.astype(np.int64), -1)

    @cached_property
    def rows(self) -> int:
        """Number of rows: the length of the index."""
        key = f"{self.key}/{self.index_name}"
        if self._compound:
            return row_count(self._item, self.key)
        item = child(self._item, self.index_name, key)
        for part in ("codes", "values"):
            if has(item, part, key):
                item, key = child(item, part, f"{key}/{part}"), f"{key}/{part}"
        return row_count(check_dataset(item, key), key)

    def _read(self, name: str) -> list[str]:
        key = f"{self.key}/{name}"
        with naming(key):
            return self._read_column(name, key)

    def _missing(self, key: str) -> CellFileError:
        return CellFileError(f"{key} is missing", hint=_choose(self.columns))

    def _read_column(self, name: str, key: str) -> list[str]:
        if self._compound:
            return self._read_field(name, key)
        import h5py

        if not has(self._item, name, key):
            raise self._missing(key)
        item = child(self._item, name, key)
        if isinstance(item, h5py.Group):
            return self._grouped(item, key)
        dataset = check_dataset(item, key)
        categories = attribute(dataset, "categories", key)
        if not isinstance(categories, h5py.Reference):
            return read_texts(dataset, key)
        # How anndata 0.7 wrote a categorical column. A reference never leaves its file.
        place = f"{key} (categories)"
        labels = read_texts(check_dataset(self._item.file[categories], place), place)
        return labels_of_codes(labels, read_whole(dataset, key), key)

    def _read_field(self, name: str, key: str) -> list[str]:
        """Read a column of a compound data set."""
        if name not in self._item.dtype.names:
            raise self._missing(key)
        kind = self._item.dtype[name]
        if kind.shape:
            problem = f"{key} has {1 + len(kind.shape)} dimensions, expected 1"
            raise CellFileError(problem, hint=_DAMAGED)
        place = f"{name}_categories"  # in `uns`: "bulk_labels_categories"
        if kind.kind not in "iu" or not has(self._legacy, place, f"/uns/{place}"):
            return read_texts(self._item, key, name)
        labels = read_texts(checked_dataset(self._legacy, place, f"/uns/{place}"), place)
        codes = np.concatenate([np.zeros(0, int), *read_portions(self._item, key, name)])
        return labels_of_codes(labels, codes, key)

    def _grouped(self, group: Any, key: str) -> list[str]:
        """Read a column that is a group: categorical, or nullable with a mask."""
        if has(group, "codes", key):
            codes = checked_dataset(group, "codes", f"{key}/codes")
            labels = self._category_labels(group, f"{key}/categories")
            return labels_of_codes(labels, read_whole(codes, f"{key}/codes"), key)
        values = checked_dataset(group, "values", f"{key}/values")
        text = read_texts(values, f"{key}/values")
        if not has(group, "mask", key):
            return text
        masked = checked_dataset(group, "mask", f"{key}/mask")
        mask = read_whole(masked, f"{key}/mask")
        if len(mask) != len(text):
            problem = f"{key} has {len(text):,} values, and a mask of {len(mask):,}"
            raise CellFileError(problem, hint=_DAMAGED)
        return ["" if hidden else value for value, hidden in zip(text, mask.tolist(), strict=True)]

    def _category_labels(self, group: Any, key: str) -> list[str]:
        """Read the categories of a column; anndata 0.13 may write them with a mask."""
        import h5py

        item = child(group, "categories", key)
        if isinstance(item, h5py.Group) and not has(item, "codes", key):
            return self._grouped(item, key)
        return read_texts(check_dataset(item, key), key)

    def _find_index_name(self) -> str:
        with naming(self.key):
            names = self._item.dtype.names if self._compound else list(self._item)
        stated = attribute(self._item, "_index", self.key)
        for name in (stated, "index", "_index"):
            if isinstance(name, str) and name in names:
                return name
        if self._compound:
            return str(names[0])
        problem = f"{self.key} has no index: no column named {stated or '_index'!r}"
        raise CellFileError(problem, hint=_DAMAGED)


def read_texts(dataset: Any, key: str, field: str | None = None) -> list[str]:
    """Read a one-dimensional data set as strings."""
    return [text for part in read_portions(dataset, key, field) for text in as_strings(part)]


def as_strings(values: NDArray[Any]) -> list[str]:
    """Values of any column as strings; None and NaN as empty strings."""
    if values.dtype.kind == "S" or values.dtype.kind == "O":
        return [_string(value) for value in values.tolist()]
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else str(value) for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _string(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    missing = value is None or (isinstance(value, float) and value != value)  # NaN
    return "" if missing else str(value)


def _check_codes(labels: list[str], codes: NDArray[Any], key: str) -> None:
    if codes.dtype.kind not in "iu" or (codes.size and int(codes.max()) >= len(labels)):
        problem = f"{key} has codes outside its {len(labels):,} categories"
        raise CellFileError(problem, hint=_DAMAGED)


def labels_of_codes(labels: list[str], codes: NDArray[Any], key: str) -> list[str]:
    """The label of each code; "" for a negative one.

    Raises:
        CellFileError: A code has no label.
    """
    _check_codes(labels, codes, key)
    return [labels[code] if code >= 0 else "" for code in codes.tolist()]


def _choose(columns: list[str]) -> str:
    shown = ", ".join(sorted(columns)[:20])
    return f"the columns are: {shown}" if shown else "the table has no columns"
