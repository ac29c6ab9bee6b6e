"""How a text table is written: its separator, its first line, and the columns in front of counts.

Taken from its first lines. Headers without a word in their corner, as R writes them, are one field
shorter than the lines after them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from c2t.runtime.cells.formats.hdf5 import ROWS_MAX
from c2t.runtime.cells.genes.names import MISSING
from c2t.runtime.system.errors import CellFileError

SEPARATORS = (b"\t", b",", b";", b" ")
# Columns in front of the counts: the names, and what else is known of each line.
COLUMNS_OF_NAMES_MAX = 16
LOOKED_AT = 50  # lines
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+\Z")
_HINT = "write a first line of names, then one line a cell (or gene): its name, and its counts"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table is written.

    Args:
        separator: Between its fields.
        columns: Names of the columns of counts.
        corner: What stands over the names of the lines; "" for nothing.
        further: Names of the other columns in front of the counts.
    """

    separator: bytes
    columns: list[str]
    corner: str
    further: list[str]

    @property
    def width(self) -> int:
        """Columns in front of the counts; the first has the names of the lines."""
        return 1 + len(self.further)


@dataclass(frozen=True)
class Line:
    """A line after the first.

    Args:
        names: What stands in front of the counts.
        rest: The counts, as text.
    """

    names: list[str]
    rest: bytes


def find_layout(head: bytes, some: Sequence[bytes], name: str) -> Layout:
    """Find out how a table is written.

    Args:
        head: Its first line.
        some: The lines after it.
        name: Of the table, for messages.

    Raises:
        CellFileError: It is no table of names and numbers.
    """
    if not some:
        problem = f"{name} has no lines of counts"
        raise CellFileError(problem, hint=_HINT)
    best: tuple[int, bytes, list[str], list[str]] | None = None
    for separator in SEPARATORS:
        first, fields = (_fields(line, separator, name) for line in (head, some[0]))
        if separator == b" ":
            first = [field for field in first if field]
        if len(fields) < 2 or len(fields) - len(first) not in (0, 1):
            continue
        if best is None or len(fields) > best[0]:
            best = len(fields), separator, first, fields
    if best is None:
        problem = f"{name} is no table: its first line and its second have no numbers of fields "
        problem += "that fit with any separator"
        raise CellFileError(problem, hint=_HINT)
    count, separator, first, fields = best
    if count > ROWS_MAX:
        problem = f"{name} has {count:,} columns, at most {ROWS_MAX:,} are read"
        raise CellFileError(problem, hint=_HINT)
    last = COLUMNS_OF_NAMES_MAX + 1
    beginnings = [_fields(line, separator, name, last + 1)[1:last] for line in some[:LOOKED_AT]]
    if separator != b"," and any(map(_DECIMAL_COMMA.match, chain(*beginnings))):
        problem = f"{name} has decimal numbers with commas, such as "
        problem += next(field for field in chain(*beginnings) if _DECIMAL_COMMA.match(field))
        raise CellFileError(problem, hint="write it with a point in decimal numbers")
    width = 1 + _last_of_texts(beginnings)
    if width >= count or width > COLUMNS_OF_NAMES_MAX:
        problem = f"{name} has no counts: its second line begins {', '.join(fields[:4])[:80]}"
        raise CellFileError(problem, hint=_HINT)
    if len(first) == len(fields):
        corner, *first = first
    else:
        corner = ""
    further, columns = first[: width - 1], first[width - 1 :]
    return Layout(separator=separator, columns=columns, corner=corner, further=further)


def split_line(line: bytes, layout: Layout, name: str, number: int) -> Line:
    """Take the names off the front of a line.

    Args:
        line: The line.
        layout: How it is written.
        name: Of the table, for messages.
        number: Of the line.

    Raises:
        CellFileError: It is shorter, or its names are no UTF-8.
    """
    names, at = [], 0
    for _ in range(layout.width):
        if line[at : at + 1] == b'"':
            end = line.find(b'"', at + 1)
            while end > 0 and line[end + 1 : end + 2] == b'"':
                end = line.find(b'"', end + 2)
            word, after = line[at + 1 : end].replace(b'""', b'"'), end + 1
        else:
            end = line.find(layout.separator, at)
            word, after = line[at:end], end
        if end < 0 or line[after : after + 1] != layout.separator:
            problem = f"{name}, line {number:,} ends before its counts"
            raise CellFileError(problem, hint="the table is cut off or damaged; copy it again")
        at = after + 1
        try:
            names.append(word.decode().strip())
        except UnicodeDecodeError as error:
            problem = f"{name}, line {number:,}: {error}"
            raise CellFileError(problem, hint="write the table in UTF-8") from error
    return Line(names, line[at:])


def _last_of_texts(beginnings: Sequence[Sequence[str]]) -> int:
    """How many columns stand up to the last one that holds texts; a missing value is none."""
    found = 0
    for place in range(max(map(len, beginnings), default=0)):
        values = [fields[place] for fields in beginnings if place < len(fields)]
        values = [value for value in values if value not in MISSING]
        if sum(map(_is_number, values)) * 2 < len(values):
            found = place + 1
    return found


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _fields(line: bytes, separator: bytes, name: str, most: int = 0) -> list[str]:
    """The fields of a line; with `most`, the last of so many holds all that is left."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        problem = f"{name}: {error}"
        raise CellFileError(problem, hint="write the table in UTF-8") from error
    if '"' not in text:
        return [field.strip() for field in text.split(separator.decode(), most - 1)]
    try:
        found = next(csv.reader([text], delimiter=separator.decode()), [])
    except csv.Error as error:
        problem = f"{name}: {error}"
        raise CellFileError(problem, hint=_HINT) from error
    return [field.strip() for field in found][: most or None]
