"""Refuses JSON with a name that stands twice in one object: the decoder would take the last one.

That happens: symbols are not unique, and a program that writes a cell's counts by symbol may write
one twice. A file's columns of one gene are summed; here nobody knows what was meant.

One decision: the colons of the JSON are counted, and compared with the names that were decoded.
Only where the two differ is the JSON read again, more slowly, to find the name.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest
from c2t.runtime.system.errors import CellFileError

SHOWN = 60  # characters of a stranger's name in a message


def check_names_once(content: bytes | bytearray, cells: list[CountedCell], *, beside: int) -> None:
    """Refuse JSON with a name that stands twice in one object.

    Args:
        content: The JSON, decoded before.
        cells: Its cells.
        beside: Names in it that are not of the cells.

    Raises:
        CellFileError: It has one.
    """
    colons = beside
    for cell in cells:
        colons += 1 + len(cell.counts)
        if cell.id is not None:
            colons += 1 + cell.id.count(":")
    # An id's colon may be written as \u003a, which is none in the JSON.
    if content.count(b":") == colons and b"\\u003" not in content:
        return
    try:
        json.loads(content, object_pairs_hook=_checked)
    except _RepeatedError as found:
        problem = f"{found.name[:SHOWN]!r} stands twice in one object of the JSON"
        hint = "name each gene of a cell once, with the sum of its counts"
        raise CellFileError(problem, hint=hint) from None


def check_request(content: bytes | bytearray, request: DescribeRequest) -> None:
    """The same of a whole request.

    Raises:
        CellFileError: It has a name that stands twice.
    """
    settings = _given(request.settings)
    check_names_once(content, request.cells, beside=_given(request) + settings)


def _given(struct: msgspec.Struct) -> int:
    """Fields that are not as they are without being given: those were given for sure."""
    names, defaults = struct.__struct_fields__, struct.__struct_defaults__
    required = len(names) - len(defaults)
    optional = zip(names[required:], defaults, strict=True)
    return required + sum(bool(getattr(struct, name) != default) for name, default in optional)


class _RepeatedError(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def _checked(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _RepeatedError(name)
            seen.add(name)
