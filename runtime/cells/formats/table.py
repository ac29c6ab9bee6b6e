"""The tables of cells and genes (`obs`, `var`) of an `.h5ad` file, one column at a time.

Read with h5py in every encoding that anndata has written: groups of columns (0.1 and 0.2), and the
compound data set of its first versions. Columns come as strings, which is all that names need.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import check_dataset, checked_dataset, child, naming, read_whole
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
        with naming(key):
            if self._compound and not check_dataset(item, key).dtype.names:
                problem = f"{key} is not a table"
                raise CellFileError(problem, hint=_DAMAGED)
            self._index_name = self._find_index_name()

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        with naming(self.key):
            names = self._item.dtype.names if self._compound else list(self._item)
        return [name for name in names if name not in (self._index_name, "__categories")]

    def index(self) -> list[str]:
        """The names of the rows."""
        return self._read(self._index_name)

    def column(self, name: str) -> list[str]:
        """A column as strings; a missing value is an empty string.

        Raises:
            CellFileError: There is no such column, or it is damaged.
        """
        values = self._read(name)
        if len(values) != self._rows:
            problem = f"{self.key}/{name} has {len(values):,} values for {self._rows:,} rows"
            raise CellFileError(problem, hint=_DAMAGED)
        return values

    @cached_property
    def _rows(self) -> int:
        return len(self._read(self._index_name))

    def _read(self, name: str) -> list[str]:
        key = f"{self.key}/{name}"
        with naming(key):
            return self._read_column(name, key)

    def _missing(self, key: str) -> CellFileError:
        return CellFileError(f"{key} is missing", hint=_choose(self.columns))

    def _read_column(self, name: str, key: str) -> list[str]:
        if self._compound:
            if name not in self._item.dtype.names:
                raise self._missing(key)
            values = read_whole(self._item, key)[name]
            if values.ndim != 1:
                problem = f"{key} has {values.ndim} dimensions, expected 1"
                raise CellFileError(problem, hint=_DAMAGED)
            return self._legacy_labels(name, values) or as_strings(values)
        import h5py

        if name not in self._item:
            raise self._missing(key)
        item = child(self._item, name, key)
        if isinstance(item, h5py.Group):
            return self._grouped(item, key)
        dataset = checked_dataset(self._item, name, key)
        values = read_whole(dataset, key)
        categories = dataset.attrs.get("categories")
        if isinstance(categories, h5py.Reference):  # how anndata 0.7 wrote a categorical column
            place = f"{key} (categories)"
            labels = read_whole(check_dataset(self._item.file[categories], place), place)
            return _labels(as_strings(labels), values, key)
        return as_strings(values)

    def _grouped(self, group: Any, key: str) -> list[str]:
        """Read a column that is a group: categorical, or nullable with a mask."""
        if "codes" in group:
            codes = checked_dataset(group, "codes", f"{key}/codes")
            labels = checked_dataset(group, "categories", f"{key}/categories")
            return _labels(
                as_strings(read_whole(labels, f"{key}/categories")),
                read_whole(codes, f"{key}/codes"),
                key,
            )
        values = checked_dataset(group, "values", f"{key}/values")
        text = as_strings(read_whole(values, f"{key}/values"))
        if "mask" not in group:
            return text
        masked = checked_dataset(group, "mask", f"{key}/mask")
        mask = read_whole(masked, f"{key}/mask")
        return ["" if hidden else value for value, hidden in zip(text, mask.tolist(), strict=False)]

    def _legacy_labels(self, name: str, values: NDArray[Any]) -> list[str] | None:
        """Turn codes into labels where `uns` holds the labels (`uns/bulk_labels_categories`)."""
        key = f"{name}_categories"
        if values.dtype.kind not in "iu" or self._legacy is None or key not in self._legacy:
            return None
        dataset = checked_dataset(self._legacy, key, f"/uns/{key}")
        labels = as_strings(read_whole(dataset, f"/uns/{key}"))
        return _labels(labels, values, f"{self.key}/{name}")

    def _find_index_name(self) -> str:
        names = self._item.dtype.names if self._compound else self._item
        stated = self._item.attrs.get("_index")
        stated = stated.decode(errors="replace") if isinstance(stated, bytes) else stated
        for name in (stated, "index", "_index"):
            if isinstance(name, str) and name in names:
                return name
        if self._compound:
            return str(names[0])
        problem = f"{self.key} has no index: no column named {stated or '_index'!r}"
        raise CellFileError(problem, hint=_DAMAGED)


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
    return "" if value is None or value != value else str(value)  # NaN differs from itself


def _labels(labels: list[str], codes: NDArray[Any], key: str) -> list[str]:
    if codes.dtype.kind not in "iu" or (codes.size and int(codes.max()) >= len(labels)):
        problem = f"{key} has codes outside its {len(labels):,} categories"
        raise CellFileError(problem, hint=_DAMAGED)
    return [labels[code] if code >= 0 else "" for code in codes.tolist()]


def _choose(columns: list[str]) -> str:
    shown = ", ".join(sorted(columns)[:20])
    return f"the columns are: {shown}" if shown else "the table has no columns"
