"""Which cells of a file are described: all, the first few, or those whose ids are given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.errors import CellFileError

SHOWN = 5  # ids in an error text


def read_ids(choice: str) -> list[str]:
    """Cell ids from an option: the lines of a file of that name if there is one, else a list.

    Args:
        choice: A path, or ids with commas between them.

    Raises:
        CellFileError: There are no ids in it.
    """
    path = Path(choice)
    # A list of ids may be longer than a file name can be, and then even asking is an error.
    is_file = len(os.fsencode(choice)) < 1024 and os.path.isfile(choice)  # noqa: PTH113
    parts = path.read_text(encoding="utf-8").splitlines() if is_file else choice.split(",")
    ids = [part.strip() for part in parts if part.strip()]
    if not ids:
        problem = f"no cell ids in --cells {choice!r}"
        raise CellFileError(problem, hint="give ids with commas between, or a file with one a line")
    return ids


def choose_rows(
    cell_ids: Sequence[str], *, ids: Sequence[str] | None = None, limit: int | None = None
) -> NDArray[np.int64]:
    """Rows to describe, in the order of the file.

    Args:
        cell_ids: Ids of all cells of the file.
        ids: Ids of the wanted cells; all if None. An id that repeats in the file means every
            cell that has it.
        limit: At most this many cells, from the first on.

    Returns:
        Row numbers [cells], increasing.

    Raises:
        CellFileError: An id is not in the file.
    """
    if ids is None:
        rows = np.arange(len(cell_ids), dtype=np.int64)
    else:
        wanted = set(ids)
        rows = np.array([i for i, cell in enumerate(cell_ids) if cell in wanted], dtype=np.int64)
        missing = sorted(wanted.difference(cell_ids[int(row)] for row in rows))
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            problem = f"{len(missing):,} of {len(wanted):,} cell ids are not in the file: {shown}"
            example = cell_ids[0] if len(cell_ids) else "(none)"
            raise CellFileError(problem, hint=f"its ids look like this: {example}")
    return rows if limit is None else rows[:limit]


def row_ranges(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Split increasing rows into runs of neighbours: (start, stop), stop excluded.

    Contiguous reads of a backed file are a hundred times cheaper than scattered ones.
    """
    if len(rows) == 0:
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.concatenate((breaks, [len(rows)]))
    return [(int(rows[a]), int(rows[b - 1]) + 1) for a, b in zip(starts, stops, strict=True)]
