"""Unpacks the chunks of zarr arrays, by compressors alone: no codec here makes Python objects.

One decision: what a chunk says of its size is checked before it is unpacked, and gzip and its like
stop at the size that the array allows. numcodecs itself does neither: its Blosc reads beyond the
end of a chunk that is cut off, and its gzip unpacks without end. So of numcodecs only the three
compressors are used that Python lacks, and the zarr package is not needed.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from c2t.runtime.system.errors import CellFileError

_HINT = "the store is damaged; copy it again from its source"
# A chunk of texts may have so many bytes; one of numbers has what its shape says.
TEXT_BYTES_MAX = 1 << 28


def check_codec(name: str, key: str) -> None:
    """Refuse a compressor that is not known here, or not installed.

    Raises:
        CellFileError: Names it, and what helps.
    """
    if name not in UNPACKERS:
        problem = f"{key} is packed by the codec {name!r}, which is not read"
        known = ", ".join(sorted(UNPACKERS))
        raise CellFileError(problem, hint=f"write it again with one of: {known}")
    if name in _OF_NUMCODECS:
        _numcodecs(name, key)


def unpack(packed: bytes, name: str, most: int, key: str) -> bytes:
    """Unpack a chunk.

    Args:
        packed: What is stored.
        name: The compressor, which was checked.
        most: Bytes that it may unpack to.
        key: The chunk, for messages.

    Raises:
        CellFileError: It is damaged, or would unpack to more.
    """
    try:
        content = UNPACKERS[name](packed, most, key)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        problem = f"{key} cannot be unpacked ({name}): {said}"
        raise CellFileError(problem, hint=_HINT) from error
    if len(content) > most:
        raise _too_long(key, len(content), most)
    return content


def _zlib(packed: bytes, most: int, key: str, wbits: int = zlib.MAX_WBITS) -> bytes:
    unpacker = zlib.decompressobj(wbits=wbits)
    content = unpacker.decompress(packed, most + 1)
    if not unpacker.eof and len(content) <= most:
        raise EOFError(_CUT)
    return content


def _gzip(packed: bytes, most: int, key: str) -> bytes:
    return _zlib(packed, most, key, 16 + zlib.MAX_WBITS)


def _bz2(packed: bytes, most: int, key: str) -> bytes:
    return bz2.BZ2Decompressor().decompress(packed, most + 1)


def _blosc(packed: bytes, most: int, key: str) -> bytes:
    """A header of 16 bytes states the sizes (c-blosc, README_CHUNK_FORMAT)."""
    if len(packed) < 16:
        raise EOFError(_CUT)
    size, _, stored = (int.from_bytes(packed[at : at + 4], "little") for at in (4, 8, 12))
    _check_stated(size, most, key)
    if stored != len(packed):
        problem = f"{len(packed):,} bytes are there, {stored:,} are stated"
        raise ValueError(problem)
    return bytes(_numcodecs("blosc", key).decompress(packed))


def _zstd(packed: bytes, most: int, key: str) -> bytes:
    """The header of a frame states its size, if one is stated (RFC 8878, 3.1.1.1)."""
    if len(packed) < 6 or packed[:4] != b"\x28\xb5\x2f\xfd":
        problem = "it is no frame of zstd"
        raise ValueError(problem)
    described = packed[4]
    length = (1, 2, 4, 8)[described >> 6] if described >> 6 or described & 32 else 0
    at = 5 + (not described & 32) + (0, 1, 2, 4)[described & 3]
    if not length:
        problem = "its frame does not state its size"
        raise ValueError(problem)
    size = int.from_bytes(packed[at : at + length], "little") + (256 if length == 2 else 0)
    _check_stated(size, most, key)
    return bytes(_numcodecs("zstd", key).decompress(packed))


def _lz4(packed: bytes, most: int, key: str) -> bytes:
    """The size stands in front, as numcodecs writes it."""
    if len(packed) < 5:
        raise EOFError(_CUT)
    _check_stated(int.from_bytes(packed[:4], "little"), most, key)
    return bytes(_numcodecs("lz4", key).decompress(packed))


def check_sum(content: bytes, key: str) -> bytes:
    """The content of a chunk without the CRC-32C at its end (RFC 3720, appendix B.4).

    Long chunks are not summed: in Python that takes as long as describing their cells.

    Raises:
        CellFileError: The sum is another one.
    """
    body, stated = content[:-4], int.from_bytes(content[-4:], "little")
    if len(body) <= SUMMED_BYTES_MAX:
        crc = 0xFFFFFFFF
        for byte in body:
            crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
        if crc ^ 0xFFFFFFFF != stated:
            problem = f"{key} is damaged: its checksum is another one"
            raise CellFileError(problem, hint=_HINT)
    return body


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


SUMMED_BYTES_MAX = 1 << 20
_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))
_CUT = "it is cut off"
UNPACKERS: dict[str, Callable[[bytes, int, str], bytes]] = {
    "blosc": _blosc,
    "bz2": _bz2,
    "gzip": _gzip,
    "lz4": _lz4,
    "zlib": _zlib,
    "zstd": _zstd,
}
_OF_NUMCODECS = ("blosc", "lz4", "zstd")


def _check_stated(size: int, most: int, key: str) -> None:
    if size > most:
        raise _too_long(key, size, most)


def _too_long(key: str, size: int, most: int) -> CellFileError:
    problem = f"{key} unpacks to {size:,} bytes or more, at most {most:,} are expected"
    return CellFileError(problem, hint=_HINT)


def _numcodecs(name: str, key: str) -> Any:
    """A compressor's module, where numcodecs is installed."""
    try:
        return importlib.import_module(f"numcodecs.{name}")
    except ImportError as error:
        problem = f"{key} is packed by {name}, which needs numcodecs"
        raise CellFileError(problem, hint="run `pip install 'c2t[zarr]'`") from error
