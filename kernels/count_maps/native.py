"""Reads cells from JSON in native code, which holds no lock of Python's while it does.

One decision: only plain JSON is read. For all else `CountMapReader.read` gives None, and the caller
reads it with a full JSON reader, which knows the right error. So nothing here has to be an error.
"""

from __future__ import annotations

import ctypes
import secrets
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from c2t.kernels.native import NativeKernels, native_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

# enum c2t_count_status
_READ, _NO_MEMORY, _NEW_NAMES, _NOT_PLAIN = 0, 1, 2, 3
_ENTRY_BYTES = 5  # '"A":1': an object of n bytes has at most n / 5 names


class CountArguments(ctypes.Structure):
    """`struct c2t_count_args` of csrc/count_maps/c2t_count_maps.h."""

    _fields_ = (
        ("texts", ctypes.c_void_p),
        ("text_bytes", ctypes.c_void_p),
        ("indptr", ctypes.c_void_p),
        ("indices", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("column_name", ctypes.c_void_p),
        ("new_names", ctypes.c_void_p),
        ("new_name_bytes", ctypes.c_void_p),
        ("cells", ctypes.c_int64),
        ("room", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("new_names_count", ctypes.c_int64),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberedRows:
    """B cells in compressed sparse row form. Their columns are the names that any of them has.

    Args:
        indptr: See `c2t.kernels.count_maps.definition.NamedRows`.
        indices: Likewise.
        data: Likewise.
        numbers: [columns] int32, the number of each column's name (`CountMapReader.names`).
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    numbers: NDArray[np.int32]


class CountMapReader:
    """Reads cells, and numbers the names that it meets. Threads may share it.

    Attributes:
        names: The names by number, from 0 on. It only grows.
        broken: Memory ran out while names were added, so `names` has some that the table lacks.
            From then on nothing is read, for later numbers would mean other names.
    """

    def __init__(self, kernels: NativeKernels) -> None:
        library = kernels.library
        for function, result, arguments in (
            ("c2t_names_new", ctypes.c_void_p, (ctypes.c_uint64,)),
            ("c2t_names_free", None, (ctypes.c_void_p,)),
            ("c2t_names_add", ctypes.c_int32, (ctypes.c_void_p,) * 3 + (ctypes.c_int64,)),
            ("c2t_count_maps", ctypes.c_int32, (ctypes.c_void_p, ctypes.c_void_p)),
        ):
            getattr(library, function).restype = result
            getattr(library, function).argtypes = arguments
        self.names: list[str] = []
        self.broken = False
        self._library = library
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self._table = library.c2t_names_new(secrets.randbits(64))
        if not self._table:
            raise MemoryError
        weakref.finalize(self, library.c2t_names_free, self._table)

    def read(self, cells: Sequence[bytes | bytearray | memoryview]) -> NumberedRows | None:
        """What `read_count_maps_reference` gives; None if a cell is not plain.

        Plain is an object without a name that stands twice, that has an escape or other characters
        than those of ASCII, or more than 64 bytes; and whose numbers have no sign, and no more
        digits than a double needs.

        Args:
            cells: Of each, a JSON object, or anything else.

        Raises:
            MemoryError: Memory ran out.
        """
        if self.broken:
            return None
        texts = [np.frombuffer(cell, np.uint8) for cell in cells]
        if not all(len(text) for text in texts):
            return None
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        addresses = np.array([text.ctypes.data for text in texts], dtype=np.uintp)
        room = int((lengths // _ENTRY_BYTES).sum())
        indptr = np.empty(len(texts) + 1, dtype=np.int64)
        indices, data = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float64)
        numbers = np.empty(room, dtype=np.int32)
        new_names, new_bytes = np.empty(room, dtype=np.uintp), np.empty(room, dtype=np.int32)
        arguments = CountArguments(
            texts=addresses.ctypes.data,
            text_bytes=lengths.ctypes.data,
            indptr=indptr.ctypes.data,
            indices=indices.ctypes.data,
            data=data.ctypes.data,
            column_name=numbers.ctypes.data,
            new_names=new_names.ctypes.data,
            new_name_bytes=new_bytes.ctypes.data,
            cells=len(texts),
            room=room,
        )
        status = self._run(arguments)
        if status == _NEW_NAMES:
            found = arguments.new_names_count
            places = zip(new_names[:found].tolist(), new_bytes[:found].tolist(), strict=True)
            self._add({ctypes.string_at(place, size) for place, size in places})
            status = self._run(arguments)
        if status != _READ:
            return None
        entries = int(indptr[-1])
        return NumberedRows(
            indptr=indptr,
            # Copies: views would keep the whole of the room alive.
            indices=indices[:entries].copy(),
            data=data[:entries].copy(),
            numbers=numbers[: arguments.columns].copy(),
        )

    def _run(self, arguments: CountArguments) -> int:
        status = int(self._library.c2t_count_maps(self._table, ctypes.byref(arguments)))
        if status == _NO_MEMORY:
            raise MemoryError
        return status

    def _add(self, names: set[bytes]) -> None:
        with self._lock:
            if self.broken:
                return
            new = sorted(names - self._known)
            ends, text = np.cumsum([len(name) for name in new], dtype=np.int64), b"".join(new)
            words = [name.decode("ascii") for name in new]
            try:
                # The list first: whoever finds a name in the table must find it there, too.
                self.names.extend(words)
                self._known.update(new)
                if self._library.c2t_names_add(self._table, text, ends.ctypes.data, len(new)):
                    raise MemoryError
            except BaseException:
                # The list has names that the table lacks: the next ones would have other numbers.
                self.broken = True
                raise


def count_map_reader() -> CountMapReader | None:
    """A reader of its own, without names; None where there is no compiled library."""
    kernels = native_kernels()
    return None if kernels is None else CountMapReader(kernels)
