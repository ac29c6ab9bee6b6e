"""Lines of bytes from a peer, in bounded memory: a line that is too long is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

BLOCK = 1 << 16


class LongLine:
    """Stands for a line that was skipped, as soon as it is found to be too long."""


def read_lines(read: Callable[[int], bytes | None], most: int) -> Iterator[bytes | LongLine]:
    """Split what a peer sends into lines.

    Args:
        read: Gives at least one byte and at most so many, or none at the end; it must not wait for
            more than there is.
        most: Longest line, in bytes, its end not counted.

    Yields:
        Lines without their end. What comes last may lack one. Blank lines are left out.
    """
    buffer = bytearray()
    skipping = False
    while block := read(BLOCK):
        seen = len(buffer)
        buffer += block
        start = 0
        while (end := buffer.find(b"\n", max(start, seen))) >= 0:
            line = bytes(buffer[start:end]).strip(b" \t\r")
            start = end + 1
            if skipping:
                skipping = False
            elif len(line) > most:
                yield LongLine()
            elif line:
                yield line
        del buffer[:start]
        if len(buffer) > most + 1 and not skipping:  # one more for "\r"
            skipping = True
            yield LongLine()
        if skipping:
            buffer.clear()
    if last := bytes(buffer).strip(b" \t\r"):
        yield last if len(last) <= most else LongLine()
