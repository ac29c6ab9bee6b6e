"""What a zarr store says of an array: its shape, type, chunks and codecs, in formats 2 and 3.

One decision: only what AnnData writes is known: numbers, texts, regular chunks, compressors, and
shards of such chunks. What else is stated is refused by its name before a chunk is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from c2t.runtime.cells.formats.hdf5 import CHUNK_BYTES_MAX
from c2t.runtime.cells.formats.zarr.codecs import TEXT_BYTES_MAX, check_codec
from c2t.runtime.system.errors import CellFileError

CHECKSUM = "crc32c"  # four bytes at the end
_TYPES = {
    "bool": "|b1",
    "int8": "|i1",
    "uint8": "|u1",
    **{
        f"{word}{8 * size}": f"{sign}{size}"
        for word, sign, sizes in (("int", "i", (2, 4, 8)), ("uint", "u", (2, 4, 8)))
        for size in sizes
    },
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
}
_FILLS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ITEM_BYTES_MAX = 1 << 16  # of one text of a fixed length


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How the values of a chunk become bytes.

    Args:
        order: "C" or "F".
        codecs: Compressors and checksums in the order in which they are undone.
    """

    order: str
    codecs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ArrayMeta:
    """What is stated of an array.

    Args:
        shape: Of the array.
        chunks: Of a chunk, the inner one of a shard.
        dtype: Of the values; None for texts of any length.
        fill: What stands where there is no chunk.
        chunking: How a chunk is written.
        separator: Between the numbers of a chunk's name.
        prefix: Before them: "c" in format 3.
        shard: Shape of a shard; None where chunks are files.
        index: How the index of a shard is written.
        index_at_end: Where it lies.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any] | None
    fill: Any
    chunking: Chunking
    separator: str
    prefix: str
    shard: tuple[int, ...] | None = None
    index: Chunking | None = None
    index_at_end: bool = True

    @property
    def chunk_bytes(self) -> int:
        """Bytes of an unpacked chunk; of texts, the most that are read."""
        return TEXT_BYTES_MAX if self.dtype is None else _bytes(self.chunks, self.dtype.itemsize)

    def chunk_name(self, place: tuple[int, ...]) -> str:
        """The name of a chunk's file, or of a shard's, below its array."""
        numbers = [str(number) for number in place]
        if self.prefix:
            return self.separator.join([self.prefix, *numbers])
        return self.separator.join(numbers) or "0"


def read_array_meta(stated: Any, key: str) -> ArrayMeta:
    """Check what is stated of an array.

    Args:
        stated: The content of `.zarray` (format 2) or `zarr.json` (format 3).
        key: The array, for messages.

    Raises:
        CellFileError: It is damaged, or more than is read here; names what.
    """
    if not isinstance(stated, Mapping):
        _fail(key, "has no description")
    try:
        meta = _format_2(stated, key) if stated.get("zarr_format") == 2 else _format_3(stated, key)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        _fail(key, f"is described in a way that is not read: {type(error).__name__} {error}")
    if len(meta.shape) != len(meta.chunks) or len(meta.shape) > 2:
        _fail(key, f"has shape {meta.shape} in chunks of {meta.chunks}")
    if meta.dtype is not None and meta.chunk_bytes > CHUNK_BYTES_MAX:
        size = meta.chunk_bytes
        _fail(key, f"is stored in chunks of {size:,} bytes, at most {CHUNK_BYTES_MAX:,} are read")
    if meta.dtype is None and math.prod(meta.chunks) > TEXT_BYTES_MAX // 4:
        _fail(key, f"is stored in chunks of {math.prod(meta.chunks):,} texts")
    return meta


def _format_2(stated: Mapping[str, Any], key: str) -> ArrayMeta:
    filters = stated.get("filters") or []
    names = [one["id"] for one in filters]
    texts = stated["dtype"] == "|O"
    if names != (["vlen-utf8"] if texts else []):
        shown = ", ".join(map(str, names)) or "none"
        kind = "holds Python objects, which are never read" if texts else "is filtered"
        _fail(key, f"{kind} (filters: {shown})")
    compressor = stated.get("compressor")
    codecs = () if compressor is None else (_known(compressor["id"], key),)
    dtype = None if texts else _checked(np.dtype(stated["dtype"]), key)
    return ArrayMeta(
        shape=_sizes(stated["shape"]),
        chunks=_sizes(stated["chunks"], least=1),
        dtype=dtype,
        fill=_fill(stated.get("fill_value"), dtype),
        chunking=Chunking(order=_order(stated.get("order", "C"), key), codecs=codecs),
        separator=_separator(stated.get("dimension_separator", "."), key),
        prefix="",
    )


def _format_3(stated: Mapping[str, Any], key: str) -> ArrayMeta:
    if stated.get("zarr_format") != 3 or stated.get("node_type") != "array":
        _fail(key, "is no array of zarr format 2 or 3")
    grid, naming = stated["chunk_grid"], stated["chunk_key_encoding"]
    if grid["name"] != "regular" or naming["name"] not in ("default", "v2"):
        _fail(key, f"has chunks of an unknown kind: {grid['name']}, {naming['name']}")
    usual = "/" if naming["name"] == "default" else "."
    separator = (naming.get("configuration") or {}).get("separator", usual)
    if any(one.get("must_understand", True) for one in stated.get("storage_transformers", ())):
        _fail(key, "uses storage transformers, which are not read")
    chunks = _sizes(grid["configuration"]["chunk_shape"], least=1)
    codecs, shard, index, at_end = list(stated["codecs"]), None, None, True
    dtype = _type_3(stated["data_type"], key)
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        inner = codecs[0]["configuration"]
        shard, chunks = chunks, _sizes(inner["chunk_shape"], least=1)
        if len(shard) != len(chunks) or any(s % c for s, c in zip(shard, chunks, strict=True)):
            _fail(key, f"has shards of {shard} for chunks of {chunks}")
        codecs, location = list(inner["codecs"]), inner.get("index_location", "end")
        index, _ = _chunking(list(inner["index_codecs"]), np.dtype("u8"), key, len(shard))
        if location not in ("start", "end") or set(index.codecs) - {CHECKSUM}:
            _fail(key, f"has a shard index of an unknown kind ({location})")
        at_end = location == "end"
    chunking, dtype = _chunking(codecs, dtype, key, len(chunks))
    return ArrayMeta(
        shape=_sizes(stated["shape"]),
        chunks=chunks,
        dtype=dtype,
        fill=_fill(stated.get("fill_value"), dtype),
        chunking=chunking,
        separator=_separator(separator, key),
        prefix="c" if naming["name"] == "default" else "",
        shard=shard,
        index=index,
        index_at_end=at_end,
    )


def _chunking(
    codecs: list[Any], dtype: np.dtype[Any] | None, key: str, dimensions: int
) -> tuple[Chunking, np.dtype[Any] | None]:
    """The codecs of format 3: perhaps a transposition, then to bytes, then compressors."""
    order = "C"
    if codecs and codecs[0]["name"] == "transpose":
        stated = list(codecs.pop(0)["configuration"]["order"])
        if stated not in (list(range(dimensions)), list(range(dimensions))[::-1]):
            _fail(key, f"is transposed by {stated}")
        order = "F" if stated != sorted(stated) else "C"
    to_bytes = codecs.pop(0)
    if dtype is None and to_bytes["name"] != "vlen-utf8":
        _fail(key, f"holds texts by the codec {to_bytes['name']!r}, which is not read")
    if dtype is not None:
        if to_bytes["name"] != "bytes":
            _fail(key, f"holds numbers by the codec {to_bytes['name']!r}, which is not read")
        endian = (to_bytes.get("configuration") or {}).get("endian", "little")
        if endian not in ("little", "big"):
            _fail(key, f"has the byte order {endian!r}")
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    undone = [
        codec["name"] if codec["name"] == CHECKSUM else _known(codec["name"], key)
        for codec in reversed(codecs)
    ]
    return Chunking(order=order, codecs=tuple(undone)), dtype


def _type_3(stated: Any, key: str) -> np.dtype[Any] | None:
    if stated == "string":
        return None
    if isinstance(stated, Mapping) and stated.get("name") in (
        "fixed_length_utf32",
        "null_terminated_bytes",
    ):
        size = stated["configuration"]["length_bytes"]
        utf32 = stated["name"] == "fixed_length_utf32"
        return _checked(np.dtype(f"U{size // 4}" if utf32 else f"S{size}"), key)
    if stated not in _TYPES:
        _fail(key, f"holds {stated!r}, which is not read")
    return np.dtype(_TYPES[stated])


def _checked(dtype: np.dtype[Any], key: str) -> np.dtype[Any]:
    if dtype.kind not in "biufSU" or dtype.itemsize > _ITEM_BYTES_MAX or not dtype.itemsize:
        _fail(key, f"holds {dtype}, which is not read")
    return dtype


def _fill(stated: Any, dtype: np.dtype[Any] | None) -> Any:
    if dtype is None or dtype.kind in "SU":
        return stated if isinstance(stated, str) and dtype is None else ""
    if stated is None:
        return dtype.type(0)
    return dtype.type(_FILLS.get(stated, stated) if isinstance(stated, str) else stated)


def _sizes(stated: Any, least: int = 0) -> tuple[int, ...]:
    sizes = tuple(stated)
    if not all(type(size) is int and least <= size < 1 << 48 for size in sizes):
        problem = f"sizes {sizes}"
        raise ValueError(problem)
    return sizes


def _bytes(shape: tuple[int, ...], item_bytes: int) -> int:
    return math.prod(shape) * item_bytes


def _known(name: Any, key: str) -> str:
    check_codec(str(name), key)
    return str(name)


def _order(stated: Any, key: str) -> str:
    if stated not in ("C", "F"):
        _fail(key, f"has the order {stated!r}")
    return str(stated)


def _separator(stated: Any, key: str) -> str:
    if stated not in (".", "/"):
        _fail(key, f"separates the numbers of chunks by {stated!r}")
    return str(stated)


def _fail(key: str, what: str) -> NoReturn:
    problem = f"{key} {what}"
    raise CellFileError(problem, hint="write the store again with a current anndata")
