"""Refuses JSON with a name that stands twice in one object: the decoder would take the last one.

That happens: symbols are not unique, and a program that writes a cell's counts by symbol may write
one twice. A file's columns of one gene are summed; here nobody knows what was meant.

One decision: the colons of the JSON are counted, and compared with the names that were decoded.
Only where the two differ is the JSON read again, more slowly, to find the name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from c2t.runtime.serve.room.messages import (
    CountedCell,
    DescribeRequest,
    UnreadCell,
    UnreadRequest,
)
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
    colons = beside + _colons(cells) + sum(len(cell.counts) for cell in cells)
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


def fields_once(content: bytes | bytearray, request: UnreadRequest) -> bool:
    """Whether no field of a request stands twice, for sure; its counts are not looked at.

    Args:
        content: The JSON, decoded before.
        request: The same.
    """
    beside = _given(request) + _given(request.settings) + _colons(request.cells)
    outside = _outside(content, request.cells)
    return outside.count(b":") == beside and b"\\u003" not in outside


def _outside(content: bytes | bytearray, cells: Sequence[UnreadCell]) -> bytes:
    """The JSON without the counts of the cells, which are parts of it."""
    start = _address(content)
    pieces, at = [], 0
    for cell in cells:
        begin = _address(cell.counts) - start
        pieces.append(content[at:begin])
        at = begin + memoryview(cell.counts).nbytes
    return b"".join((*pieces, content[at:]))


def _address(content: bytes | bytearray | msgspec.Raw) -> int:
    return int(np.frombuffer(content, np.uint8).ctypes.data)


def _colons(cells: Sequence[CountedCell | UnreadCell]) -> int:
    """Colons of cells, without those of their counts."""
    return len(cells) + sum(1 + cell.id.count(":") for cell in cells if cell.id is not None)


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
