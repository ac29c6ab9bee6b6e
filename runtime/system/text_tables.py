"""Plain text for people: aligned tables, sections of named values, amounts of memory.

Names and texts come from files of strangers: control characters in them are shown as escapes, so
that no text moves the cursor, changes colours or looks like another line.

No colours and no boxes: a terminal, a log file and a bug report show the same text. Rich makes the
same tables, but importing it takes 80 ms, a tenth of all that `c2t info` takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# C0 and C1 without the line feed, line separators, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Section:
    """A heading and its rows: a name (may be empty) and a value, which may have several lines."""

    title: str
    rows: list[tuple[str, str]]


def render(sections: list[Section]) -> str:
    """The sections as text, with a blank line between two of them and a newline at the end."""
    width = max((len(visible(name)) for section in sections for name, _ in section.rows), default=0)
    blocks = []
    for section in sections:
        lines = [section.title]
        for name, value in [(visible(n).replace("\n", " "), v) for n, v in section.rows]:
            first, *more = visible(value).rstrip("\n").split("\n")
            lines.append(f"  {name:<{width}}  {first}".rstrip() if name else f"  {first}")
            lines += [f"  {'':<{width}}  {line}".rstrip() for line in more]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table with a heading line; numbers are the caller's to format.

    Args:
        head: Names of the columns.
        rows: One value a column.
    """
    lines = [tuple(visible(v).replace("\n", " ") for v in line) for line in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "".join(
        "  ".join(f"{v:<{w}}" for v, w in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def visible(text: str) -> str:
    """The text with control characters as escapes; line feeds stay."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def gigabytes(amount: int) -> str:
    """An amount of memory in GB (10^9 bytes), or MB or KB where that is nearer."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} B"
