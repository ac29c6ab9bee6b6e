"""The tables of cells and genes of a zarr store, one column at a time, in anndata's encodings."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from c2t.runtime.cells.formats.hdf5 import ROWS_MAX
from c2t.runtime.cells.formats.table import labels_of_codes
from c2t.runtime.cells.formats.zarr.arrays import KeptChunks, ZarrArray
from c2t.runtime.cells.formats.zarr.tree import Tree, check_name, join
from c2t.runtime.system.errors import CellFileError

_HINT = "the store is damaged; write it again with a current anndata"
_OLD_CATEGORIES = "__categories"


class ZarrTable:
    """A table inside a store.

    Args:
        tree: The store.
        place: The table's place in it.
        kept: Chunks of the store.

    Raises:
        CellFileError: It is no table, or has no index.
    """

    def __init__(self, tree: Tree, place: str, kept: KeptChunks) -> None:
        self.key = f"/{place}"
        if tree.kind(place) != "group":
            problem = f"{self.key} is missing, or is no table"
            raise CellFileError(problem, hint=_HINT)
        self._tree, self._place, self._kept = tree, place, kept
        stated = check_name(tree.attributes(place).get("_index", "_index"), self.key)
        names = (stated, "index", "_index")
        found = [name for name in names if tree.kind(join(place, name))]
        if not found:
            problem = f"{self.key} has no index: no column named {stated!r}"
            raise CellFileError(problem, hint=_HINT)
        self._index = found[0]

    @property
    def columns(self) -> list[str]:
        """Names of the columns, without the index."""
        hidden = (self._index, _OLD_CATEGORIES)
        return [name for name in self._tree.children(self._place) if name not in hidden]

    @cached_property
    def rows(self) -> int:
        """Number of rows: the length of the index."""
        place = join(self._place, self._index)
        for part in ("codes", "values"):
            if self._tree.kind(join(place, part)):
                place = join(place, part)
        array = self._array(place)
        if array.shape[0] > ROWS_MAX:
            problem = f"/{place} has {array.shape[0]:,} rows, at most {ROWS_MAX:,} are read"
            raise CellFileError(problem, hint="split the file")
        return array.shape[0]

    def index(self) -> list[str]:
        """The names of the rows."""
        return self._texts(join(self._place, self._index), whole=True)

    def column(self, name: str) -> list[str]:
        """A column as strings; a missing value is an empty string.

        Raises:
            CellFileError: There is no such column, or it is damaged.
        """
        place = join(self._place, check_name(name, self.key))
        if not self._tree.kind(place):
            shown = ", ".join(sorted(self.columns)[:20])
            hint = f"the columns are: {shown}" if shown else "the table has no columns"
            problem = f"{self.key}/{name} is missing"
            raise CellFileError(problem, hint=hint)
        values = self._texts(place)
        if len(values) != self.rows:
            problem = f"/{place} has {len(values):,} values for {self.rows:,} rows"
            raise CellFileError(problem, hint=_HINT)
        return values

    def _texts(self, place: str, *, whole: bool = False) -> list[str]:
        """The values at a place as texts: an array, categories, or values with a mask."""
        tree = self._tree
        if tree.kind(place) == "array":
            stated = tree.attributes(place).get("categories")
            if isinstance(stated, str):  # how anndata 0.7 wrote a categorical column
                name = check_name(stated.rpartition("/")[2], f"/{place}")
                labels = join(join(self._place, _OLD_CATEGORIES), name)
                return self._labels(place, labels)
            return list(self._array(place, whole=whole).texts())
        if tree.kind(join(place, "codes")):
            return self._labels(join(place, "codes"), join(place, "categories"))
        texts = list(self._array(join(place, "values"), whole=whole).texts())
        mask = join(place, "mask")
        if not tree.kind(mask):
            return texts
        hidden = self._numbers(mask)
        if len(hidden) != len(texts):
            problem = f"/{place} has {len(texts):,} values, and a mask of {len(hidden):,}"
            raise CellFileError(problem, hint=_HINT)
        return ["" if gone else text for text, gone in zip(texts, hidden.tolist(), strict=True)]

    def _labels(self, codes: str, categories: str) -> list[str]:
        return labels_of_codes(self._texts(categories), self._numbers(codes), f"/{codes}")

    def _numbers(self, place: str) -> np.ndarray[Any, Any]:
        array = self._array(place)
        if array.shape[0] > ROWS_MAX or array.dtype.kind not in "biu":
            problem = f"/{place} holds {array.shape[0]:,} values of {array.dtype}"
            raise CellFileError(problem, hint=_HINT)
        return array[:]

    def _array(self, place: str, *, whole: bool = False) -> ZarrArray:
        array = ZarrArray(self._tree, place, self._kept, whole=whole)
        if len(array.shape) != 1:
            problem = f"/{place} has {len(array.shape)} dimensions, expected 1"
            raise CellFileError(problem, hint=_HINT)
        return array
