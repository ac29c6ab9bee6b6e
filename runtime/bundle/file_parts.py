"""Parts of a file that have a SHA-256 of their own: its blocks, or all of it.

One decision: a block is so long that hashing it is most of the work, and so short that a machine's
cores share a file of a gigabyte evenly. One SHA-256 over such a file keeps one core busy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from c2t.runtime.bundle.manifest import FileEntry

LONG_BYTES = 32 << 20  # files above this have block hashes
BLOCK_BYTES = 16 << 20
BLOCK_BYTES_MIN = 1 << 12
# A manifest of several such files stays below its limit of 4 MiB.
BLOCKS_MAX = 1 << 13
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a file, and what it must hash to.

    Args:
        name: The file's plain name.
        start: Bytes from its start.
        end: Where it ends; None: where the file ends.
        sha256: 64 hexadecimal digits; "" where nobody knows yet.
    """

    name: str
    start: int
    end: int | None
    sha256: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file, rather than a block."""
        return self.end is None


def whole(name: str, sha256: str = "") -> Part:
    """All of a file."""
    return Part(name=name, start=0, end=None, sha256=sha256)


def block_bytes(length: int) -> int:
    """How long the blocks of a file are, by its length; 0: it has none."""
    if length <= LONG_BYTES:
        return 0
    size = BLOCK_BYTES
    while -(-length // size) > BLOCKS_MAX:
        size *= 2
    return size


def blocks(name: str, length: int, size: int) -> list[Part]:
    """A file's blocks, without their hashes.

    Args:
        name: The file's.
        length: Its bytes.
        size: Bytes of a block.
    """
    starts = range(0, length, size)
    return [Part(name=name, start=at, end=min(at + size, length)) for at in starts]


def stated_parts(name: str, entry: FileEntry, *, wholly: bool = False) -> list[Part]:
    """The parts of a file that show, compared with their hashes, that it is as stated.

    Args:
        name: The file's.
        entry: Without `block_problems`.
        wholly: All of it, too, where blocks are stated; else these alone.
    """
    parts = [] if entry.blocks and not wholly else [whole(name, entry.sha256)]
    if entry.blocks is None:
        return parts
    places = blocks(name, entry.bytes, entry.blocks.bytes)
    stated = zip(places, entry.blocks.sha256, strict=True)
    return [*parts, *(replace(place, sha256=digest) for place, digest in stated)]


def block_problems(name: str, entry: FileEntry) -> Iterator[str]:
    """Why the blocks of a file cannot be what they are said to be, in words."""
    stated = entry.blocks
    if stated is None:
        return
    if stated.bytes < BLOCK_BYTES_MIN:
        yield f"the blocks of {name} have {stated.bytes:,} bytes"
        return
    count, found = -(-entry.bytes // stated.bytes), len(stated.sha256)
    if found != count or not 1 <= count <= BLOCKS_MAX:
        yield (
            f"{name} has {found:,} hashes of blocks; its {entry.bytes:,} bytes are "
            f"{count:,} blocks, and at most {BLOCKS_MAX:,} are read"
        )
    elif not all(map(_SHA256.fullmatch, stated.sha256)):
        yield f"a block of {name} has no SHA-256"
