"""Arrays of a zarr store, read in portions along their rows, a chunk at a time."""

from __future__ import annotations

import itertools
import math
import struct
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import (
    COLUMN_BYTES_MAX,
    NAME_BYTES_MAX,
    ROWS_MAX,
    STRING_BYTES,
)
from c2t.runtime.cells.formats.table import as_strings
from c2t.runtime.cells.formats.zarr.codecs import check_sum, unpack
from c2t.runtime.cells.formats.zarr.metadata import CHECKSUM, ArrayMeta, Chunking, read_array_meta
from c2t.runtime.cells.formats.zarr.tree import Tree, join
from c2t.runtime.system.errors import CellFileError

# Unpacked chunks that are kept: the next portion often begins in the last one's.
KEPT_BYTES = 64 << 20
# A packed chunk is hardly longer than what it holds.
PACKED_SLACK = 1 << 20
INDEX_BYTES_MAX = 64 << 20
_NO_CHUNK = (1 << 64) - 1
_HINT = "the store is damaged or was copied in part; copy it again from its source"


class KeptChunks:
    """Unpacked chunks of a store, the last ones that were used."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[tuple[str, tuple[int, ...]], NDArray[Any]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, tuple[int, ...]]) -> NDArray[Any] | None:
        """A chunk, if it is kept."""
        if key in self._chunks:
            self._chunks.move_to_end(key)
        return self._chunks.get(key)

    def put(self, key: tuple[str, tuple[int, ...]], chunk: NDArray[Any]) -> None:
        """Keep a chunk, and drop the oldest ones."""
        if chunk.nbytes > KEPT_BYTES:
            return
        self._chunks[key] = chunk
        self._bytes += chunk.nbytes
        while self._bytes > KEPT_BYTES:
            self._bytes -= self._chunks.popitem(last=False)[1].nbytes


class ZarrArray:
    """An array of none, one or two dimensions.

    Args:
        tree: The store.
        place: The array's place in it.
        kept: Chunks of the store.
        whole: Whether a missing chunk is damage, and no run of zeros that was left out.

    Raises:
        CellFileError: There is no such array, or it is described in a way that is not read.
    """

    def __init__(self, tree: Tree, place: str, kept: KeptChunks, *, whole: bool = False) -> None:
        self.key = f"/{place}"
        if tree.kind(place) != "array":
            problem = f"{self.key} is missing" if not tree.kind(place) else f"{self.key} is a group"
            raise CellFileError(problem, hint=_HINT)
        self.meta: ArrayMeta = read_array_meta(tree.array_description(place), self.key)
        self.shape = self.meta.shape
        self._tree, self._place, self._kept, self._whole = tree, place, kept, whole
        self._index: tuple[str, NDArray[np.uint64]] | None = None
        if self.shape and self.shape[0] > ROWS_MAX and self.meta.dtype is None:
            problem = f"{self.key} has {self.shape[0]:,} rows, at most {ROWS_MAX:,} are read"
            raise CellFileError(problem, hint="split the file")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values; object for texts."""
        return np.dtype(object) if self.meta.dtype is None else self.meta.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read rows [start, stop): all columns of them.

        Raises:
            CellFileError: A chunk is missing or damaged.
        """
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((max(stop - start, 0), *self.shape[1:]), dtype=self.dtype)
        size = self.meta.chunks[0]
        across = [
            range(-(-n // c)) for n, c in zip(self.shape[1:], self.meta.chunks[1:], strict=True)
        ]
        for row in range(start // size, -(-stop // size) if stop > start else 0):
            begin, end = max(row * size, start), min((row + 1) * size, stop)
            for others in itertools.product(*across):
                chunk = self.chunk((row, *others))[begin - row * size : end - row * size]
                place = [slice(begin - start, end - start)]
                if others:
                    first = others[0] * self.meta.chunks[1]
                    width = min(self.meta.chunks[1], self.shape[1] - first)
                    place.append(slice(first, first + width))
                    chunk = chunk[:, :width]
                found[tuple(place)] = chunk
        return found

    def scalar(self) -> Any:
        """The value of an array of no dimension, or of one value."""
        if math.prod(self.shape) != 1:
            return None
        return self.chunk((0,) * len(self.shape)).reshape(-1)[0]

    def chunk(self, place: tuple[int, ...]) -> NDArray[Any]:
        """A chunk, of its full shape also at the edge.

        Raises:
            CellFileError: It is missing or damaged.
        """
        known = (self._place, place)
        values = self._kept.get(known)
        if values is None:
            key = f"{self.key} (chunk {'.'.join(map(str, place)) or '0'})"
            content = self._content(place, key)
            values = self._filled(key) if content is None else self._values(content, key)
            self._kept.put(known, values)
        return values

    def texts(self) -> Iterator[str]:
        """All values of one dimension as texts.

        Raises:
            CellFileError: They are too many or too long, or damaged.
        """
        rows, size = self.shape[0], self.meta.chunks[0]
        item = 0 if self.meta.dtype is None else self.meta.dtype.itemsize
        held = rows * (item + STRING_BYTES)
        for first in range(0, rows, size):
            _check_held(held, self.key)
            values = self.chunk((first // size,))[: rows - first]
            for text in as_strings(values):
                held += len(text) if self.meta.dtype is None else 0
                yield text
            _check_held(held, self.key)

    def _content(self, place: tuple[int, ...], key: str) -> bytes | None:
        """The bytes of a chunk as they are stored; None if it was left out."""
        most = self.meta.chunk_bytes + PACKED_SLACK
        if self.meta.shard is None:
            file = join(self._place, self.meta.chunk_name(place))
            return None if self._tree.size(file) is None else self._tree.read(file, most)
        ratio = [s // c for s, c in zip(self.meta.shard, self.meta.chunks, strict=True)]
        outer = tuple(n // r for n, r in zip(place, ratio, strict=True))
        file = join(self._place, self.meta.chunk_name(outer))
        index = self._shard_index(file, ratio, key)
        if index is None:
            return None
        inner = tuple(n % r for n, r in zip(place, ratio, strict=True))
        start, count = (int(number) for number in index[inner])
        if (start, count) == (_NO_CHUNK, _NO_CHUNK):
            return None
        return self._tree.read(file, most, start=start, count=count)

    def _shard_index(self, file: str, ratio: list[int], key: str) -> NDArray[np.uint64] | None:
        """Where the chunks of a shard begin, and their bytes; None if the shard was left out."""
        if self._index is not None and self._index[0] == file:
            return self._index[1]
        size, coding = self._tree.size(file), self.meta.index
        if size is None or coding is None:
            return None
        length = 16 * math.prod(ratio)
        stored = length + 4 * len(coding.codecs)
        at = size - stored if self.meta.index_at_end else 0
        content = self._tree.read(file, INDEX_BYTES_MAX, start=at, count=stored)
        numbers = np.frombuffer(_undone(content, coding, length, key), dtype="<u8")
        index = numbers.reshape(*ratio, 2)
        self._index = file, index
        return index

    def _values(self, content: bytes, key: str) -> NDArray[Any]:
        meta = self.meta
        content = _undone(content, meta.chunking, meta.chunk_bytes, key)
        if meta.dtype is None:
            return _texts(content, math.prod(meta.chunks), key).reshape(meta.chunks)
        if len(content) != meta.chunk_bytes:
            problem = f"{key} has {len(content):,} bytes, expected {meta.chunk_bytes:,}"
            raise CellFileError(problem, hint=_HINT)
        flat = np.frombuffer(content, dtype=meta.dtype)
        return flat.reshape(meta.chunks, order="F" if meta.chunking.order == "F" else "C")

    def _filled(self, key: str) -> NDArray[Any]:
        if self._whole:
            problem = f"{key} is missing"
            raise CellFileError(problem, hint=_HINT)
        return np.full(self.meta.chunks, self.meta.fill, dtype=self.dtype)


def _undone(content: bytes, chunking: Chunking, most: int, key: str) -> bytes:
    """Undo compressors and checksums."""
    for codec in chunking.codecs:
        summed = codec == CHECKSUM
        content = check_sum(content, key) if summed else unpack(content, codec, most + 4, key)
    return content


def _texts(content: bytes, count: int, key: str) -> NDArray[Any]:
    """Texts as vlen-utf8 writes them: how many, then each with its length before it."""
    texts = np.full(count, "", dtype=object)
    try:
        (stated,) = struct.unpack_from("<I", content, 0)
        if stated > count:
            problem = f"{stated:,} texts in a chunk of {count:,}"
            raise ValueError(problem)
        at = 4
        for number in range(stated):
            (length,) = struct.unpack_from("<I", content, at)
            at += 4
            if length > min(len(content) - at, NAME_BYTES_MAX):
                problem = f"a text of {length:,} bytes"
                raise ValueError(problem)
            texts[number] = content[at : at + length].decode(errors="replace")
            at += length
    except (struct.error, ValueError) as error:
        problem = f"{key} is damaged: {error}"
        raise CellFileError(problem, hint=_HINT) from error
    return texts


def _check_held(held: int, key: str) -> None:
    if held > COLUMN_BYTES_MAX:
        problem = f"{key} takes {held:,} bytes of memory, at most {COLUMN_BYTES_MAX:,} are read"
        raise CellFileError(problem, hint="split the file, or write it again with shorter names")
