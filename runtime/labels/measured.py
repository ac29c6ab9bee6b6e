"""Tells labels from measurements: a column of real numbers names no groups of cells.

One decision: "1.1" and "2.10" are how people name parts of clusters, so numbers with one or two
decimals are labels as long as cells share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from c2t.runtime.system.errors import CellFileError

_DECIMALS = 2  # of names of parts of clusters


def check_labels(column: str, values: Iterable[str]) -> None:
    """Refuse a column of measurements where labels are meant.

    Args:
        column: Its name.
        values: Of the cells, as text; "" where there is none.

    Raises:
        CellFileError: All are numbers, and not all of them whole: with more decimals than names
            have, or different ones for most cells.
    """
    cells, different = 0, set[str]()
    for value in values:
        if value:
            cells += 1
            different.add(value)
    example, longest = None, 0
    for text in different:
        try:
            number = float(text)
        except ValueError:
            return
        if math.isfinite(number) and number != int(number):
            decimals = len(text.partition(".")[2]) if "e" not in text.lower() else _DECIMALS + 1
            if decimals > longest:
                example, longest = text, decimals
    if example is None or (longest <= _DECIMALS and 2 * len(different) <= cells):
        return
    problem = f"obs[{column!r}] holds measurements such as {example}, not labels of cells"
    hint = "name a column of types, clusters or samples; or cut the numbers into named classes"
    raise CellFileError(problem, hint=hint)
