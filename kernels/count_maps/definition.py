"""What reading cells from JSON gives: the definition, by Python's own JSON reader."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedRows:
    """B cells in compressed sparse row form. Their columns are the names that any of them has.

    Args:
        indptr: [B+1] int64, where the entries of each cell begin.
        indices: [N] int32, column of each entry; those of a cell are in the order of its names.
        data: [N] float64, counts that are not 0.
        names: [columns] the names, in the order of their first appearance.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]
    names: tuple[str, ...]


def read_count_maps_reference(cells: Sequence[bytes]) -> NamedRows:
    """Read cells.

    Args:
        cells: Of each, a JSON object from name to a number that is at least 0.

    Raises:
        ValueError: An object that is none, has a name twice, or another value than such a number.
    """
    columns: dict[str, int] = {}
    indptr, indices, data = [0], [], []
    for cell in cells:
        pairs = json.loads(cell, object_pairs_hook=_Pairs)
        if not isinstance(pairs, _Pairs) or len(dict(pairs)) != len(pairs):
            message = "a cell is no object of different names"
            raise ValueError(message)
        for name, count in pairs:
            if type(count) not in (int, float) or not 0 <= count < float("inf"):
                message = f"{name!r} has the count {count!r}"
                raise ValueError(message)
            column = columns.setdefault(name, len(columns))
            if count:
                indices.append(column)
                data.append(float(count))
        indptr.append(len(indices))
    return NamedRows(
        indptr=np.array(indptr, dtype=np.int64),
        indices=np.array(indices, dtype=np.int32),
        data=np.array(data, dtype=np.float64),
        names=tuple(columns),
    )


class _Pairs(list[tuple[str, Any]]):
    """Names and values of a JSON object."""
