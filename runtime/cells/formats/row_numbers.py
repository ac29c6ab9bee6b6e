"""Numbers of lines that stand where names are expected, as R's `write.csv` and pandas write them.

One decision: a first column is passed over only where its header says nothing and it counts from 0
or 1 without a gap, and another column has names. Else numbers may be names: they stay, and that is
said.
"""

from __future__ import annotations

from collections.abc import Sequence

# What stands over a column that a program added.
_NO_HEADERS = frozenset(("", "unnamed: 0", "index"))


def is_numbered(names: Sequence[str]) -> bool:
    """Whether names are 1, 2, 3 and so on, or 0, 1, 2."""
    if len(names) < 2 or names[0] not in ("0", "1"):
        return False
    first = int(names[0])
    return all(name == str(number) for number, name in enumerate(names, first))


def name_column(header: Sequence[str], columns: Sequence[Sequence[str]], *, distinct: bool) -> int:
    """Which column has the names: the first, or the next with texts where that one only counts.

    Args:
        header: What stands over each column.
        columns: Their values.
        distinct: Whether no two names may be the same.
    """
    if not columns or header[0].lower() not in _NO_HEADERS or not is_numbered(columns[0]):
        return 0
    for place, column in enumerate(columns[1:], 1):
        texts = sum(bool(value) and not _is_number(value) for value in column)
        if 2 * texts > len(column) and not (distinct and len(set(column)) < len(column)):
            return place
    return 0


def numbers_said(names: Sequence[str], key: str, what: str = "cells") -> tuple[str, ...]:
    """A warning where cells have numbers of lines for names.

    Args:
        names: The names.
        key: The file that they are from.
        what: They are of.
    """
    if not is_numbered(names):
        return ()
    return (f"{key} names the {what} {names[0]}, {names[1]}, …: numbers of lines, no names",)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
