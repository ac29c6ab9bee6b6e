"""Columns in one binary file, for a page that draws them without decoding.

8 bytes   "C2TCOLS1"
4 bytes   length of the header, little-endian
header    JSON, padded with spaces so that the arrays begin at a multiple of 8
arrays    little-endian, each at a multiple of 8 from the end of the header
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_file

MAGIC = b"C2TCOLS1"
ALIGNMENT = 8
HEADER_BYTES_MAX = 256 << 20
DTYPES = {"f4": "<f4", "u2": "<u2", "u1": "|u1"}
NONE = 65535  # of a u2 column: no category
HINT = "remove the job, and make it again"


class BlobColumn(msgspec.Struct, frozen=True):
    """Where an array lies.

    Args:
        name: The column's.
        dtype: "f4", "u2" or "u1".
        offset: From the end of the header, in bytes.
    """

    name: str
    dtype: str
    offset: int


class BlobHeader(msgspec.Struct, frozen=True):
    """What a file of columns holds.

    Args:
        cells: Length of each column.
        columns: Where they lie.
        categories: Of each u2 column, what its values stand for.
        scatter: What x and y are; None: there are none.
    """

    cells: int
    columns: list[BlobColumn]
    categories: dict[str, list[str]]
    scatter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of n cells.

    Args:
        cells: n.
        arrays: [n] each, float32, uint16 or uint8, by name.
        categories: Of each uint16 array, what its values stand for; 65535 stands for none.
        scatter: What x and y are; None: there are none.
    """

    cells: int
    arrays: Mapping[str, NDArray[Any]]
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scatter: str | None = None


def write_blob(path: Path, columns: Columns) -> None:
    """Write a file of columns, which appears when it is complete; one that is there is replaced.

    Raises:
        OSError: The disk is full.
    """
    places, offset = [], 0
    for name, array in columns.arrays.items():
        places.append(BlobColumn(name, array.dtype.str[1:], offset))
        offset += _padded(array.nbytes)
    categories = {name: list(labels) for name, labels in columns.categories.items()}
    header = msgspec.json.encode(BlobHeader(columns.cells, places, categories, columns.scatter))
    before = len(MAGIC) + 4
    header = header.ljust(_padded(before + len(header)) - before)
    with atomic_file(path, force=True) as temporary, temporary.open("wb") as stream:
        stream.write(MAGIC + struct.pack("<I", len(header)) + header)
        for column, array in zip(places, columns.arrays.values(), strict=True):
            content = np.ascontiguousarray(array, DTYPES[column.dtype])
            stream.write(content.data)
            stream.write(bytes(_padded(content.nbytes) - content.nbytes))


def read_blob(path: Path) -> Columns:
    """Map a file of columns into memory.

    Raises:
        OutputError: It is damaged.
    """
    with path.open("rb") as stream:
        start = stream.read(len(MAGIC) + 4)
        length = int.from_bytes(start[len(MAGIC) :], "little")
        if not start.startswith(MAGIC) or length > HEADER_BYTES_MAX:
            problem = f"{path.name} is no file of columns"
            raise OutputError(problem, hint=HINT)
        content = stream.read(length)
    header = decode_json(content, BlobHeader, name=path.name, error=OutputError, hint=HINT)
    begin, size = len(start) + length, path.stat().st_size
    arrays = {}
    for column in header.columns:
        dtype, place = np.dtype(DTYPES.get(column.dtype, "V1")), begin + column.offset
        if dtype.kind == "V" or place + dtype.itemsize * header.cells > size or column.offset < 0:
            problem = f"{path.name} is damaged: its column {column.name!r} is not in it"
            raise OutputError(problem, hint=HINT)
        arrays[column.name] = (
            np.memmap(path, dtype, "r", place, (header.cells,))
            if header.cells
            else np.zeros(0, dtype)
        )
    return Columns(
        cells=header.cells,
        arrays=arrays,
        categories=header.categories,
        scatter=header.scatter,
    )


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
