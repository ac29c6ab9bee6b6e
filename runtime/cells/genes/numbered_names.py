"""Cells as JSON, read by native code, with what their genes' names mean.

One decision: the native reader numbers names, and what a name means by itself is kept in an array
by its number. So a request costs Python a few operations on arrays, whatever its number of genes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.count_maps.native import CountMapReader, count_map_reader
from c2t.runtime.cells.formats.count_maps import CountMaps
from c2t.runtime.cells.genes.name_memory import NAMES_MAX, NameMemory
from c2t.runtime.cells.sparse_rows import SparseRows


class NumberedNames:
    """Reads cells and knows their names. Threads may share it; its size is bounded.

    Args:
        memory: Knows what names mean.
        most: Names to keep at most; a request may go beyond, and is the last before all are
            forgotten.
    """

    def __init__(self, memory: NameMemory, most: int = NAMES_MAX) -> None:
        self._memory, self._most = memory, most
        self._lock = threading.Lock()
        self._names = _new_names()

    def read(
        self, cells: Sequence[bytes | bytearray | memoryview], ids: Sequence[str]
    ) -> tuple[CountMaps, NDArray[np.int32]] | None:
        """Read cells of plain JSON.

        Args:
            cells: Of each, a JSON object from gene to count.
            ids: Names of the cells.

        Returns:
            The cells, and what the name of each column means by itself (see `NameMemory.together`).
            None where a full JSON reader must judge them, or where there is no native code.
        """
        names = self._names
        if names is None:
            return None
        rows = names.reader.read(cells)
        if rows is None or not len(rows.numbers):
            return None
        code = names.meanings(self._memory)[rows.numbers]
        if len(names.reader.names) > self._most:
            with self._lock:
                if self._names is names:
                    self._names = _new_names()
        counts = SparseRows(rows.indptr, rows.indices, rows.data, len(rows.numbers))
        return CountMaps(counts, _NamesOf(names.reader.names, rows.numbers), ids), code


class _Names:
    """The names of one native reader, and what they mean."""

    def __init__(self, reader: CountMapReader) -> None:
        self.reader = reader
        self._lock = threading.Lock()
        self._code = np.zeros(0, dtype=np.int32)

    def meanings(self, memory: NameMemory) -> NDArray[np.int32]:
        """What each name means by itself, by number: [names] or more, int32."""
        if len(self._code) < len(self.reader.names):
            with self._lock:
                new = self.reader.names[len(self._code) :]
                self._code = np.concatenate((self._code, memory.alone(new)))
        return self._code


class _NamesOf(Sequence[str]):
    """Names by their numbers. Hardly a request looks at them: most names mean a gene."""

    def __init__(self, names: list[str], numbers: NDArray[np.int32]) -> None:
        self._names, self._numbers = names, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return _NamesOf(self._names, self._numbers[place])
        return self._names[int(self._numbers[place])]

    def __iter__(self) -> Iterator[str]:
        return map(self._names.__getitem__, self._numbers.tolist())


def _new_names() -> _Names | None:
    reader = count_map_reader()
    return None if reader is None else _Names(reader)
