"""A stream of bytes from a stranger, unpacked as it comes and cut into blocks of whole lines."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from c2t.runtime.cells.formats.archive_members import ZIP_ERRORS
from c2t.runtime.system.errors import CellFileError

GZIP = b"\x1f\x8b"
BLOCK_BYTES = 1 << 22
# The lines of names, and those of a table with a column a cell, are the longest.
LINE_BYTES_MAX = 1 << 28
_ERRORS = (*ZIP_ERRORS, zlib.error, gzip.BadGzipFile)


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Turn the errors of a damaged stream into one that names it.

    Raises:
        CellFileError: It is cut off or damaged.
    """
    try:
        yield
    except EOFError as error:
        problem = f"{key} is cut off: it ends in the middle of what is packed"
        raise CellFileError(problem, hint="download or copy it again") from error
    except _ERRORS as error:
        said = " ".join(str(error).split()) or type(error).__name__
        problem = f"{key} cannot be read: {said}"
        raise CellFileError(problem, hint="it is damaged; download or copy it again") from error


def unpacked(stream: IO[bytes]) -> IO[bytes]:
    """The stream without gzip, if its first bytes say that it is packed so."""
    start = stream.read(len(GZIP))
    stream.seek(0)
    if start != GZIP:
        return stream
    return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]  # reads alike


def read_block(stream: IO[bytes], key: str, size: int = BLOCK_BYTES) -> bytes:
    """The next bytes, at most `size`; none at the end.

    Raises:
        CellFileError: The stream is damaged.
    """
    with reading(key):
        return stream.read(size)


def line_blocks(stream: IO[bytes], key: str, *, longest: int = LINE_BYTES_MAX) -> Iterator[bytes]:
    """Blocks of whole lines, each of them with its end; the last line may lack it.

    Args:
        stream: From `unpacked`.
        key: What messages call it.
        longest: Bytes that a line may have.

    Raises:
        CellFileError: The stream is damaged, or a line is longer.
    """
    rest: list[bytes] = []
    held = 0
    while block := read_block(stream, key):
        end = block.rfind(b"\n") + 1
        if not end:
            rest.append(block)
            held += len(block)
            if held > longest:
                problem = f"{key} has a line of more than {longest:,} bytes"
                raise CellFileError(problem, hint="it is no text of lines, or damaged")
            continue
        yield b"".join((*rest, block[:end]))
        rest, held = [block[end:]], len(block) - end
    if last := b"".join(rest):
        yield last


def lines(stream: IO[bytes], key: str, *, longest: int = LINE_BYTES_MAX) -> Iterator[bytes]:
    """Its lines, without their ends.

    Raises:
        CellFileError: See `line_blocks`.
    """
    for block in line_blocks(stream, key, longest=longest):
        for line in block.split(b"\n")[: None if not block.endswith(b"\n") else -1]:
            yield line.removesuffix(b"\r")
