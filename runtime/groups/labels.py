"""Which cell is in which group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.labels.no_value import NO_VALUE

NO_GROUP = -1


@dataclass(frozen=True, eq=False)
class GroupLabels:
    """The group of each cell.

    Args:
        names: Of the groups that have cells.
        codes: [cells] int32, each cell's place among them; -1: it is in no group.
    """

    names: Sequence[str]
    codes: NDArray[np.int32]

    @property
    def grouped(self) -> int:
        """Cells that are in a group."""
        return int(np.count_nonzero(self.codes != NO_GROUP))


def few_cells(labels: GroupLabels, said: str, *, least: int) -> list[str]:
    """A sentence where the groups have few cells, else none.

    Args:
        labels: The groups.
        said: What has them.
        least: Cells of a group, on average, below which its consensus says little.
    """
    count, grouped = len(labels.names), labels.grouped
    if count < 2 or grouped >= least * count:
        return []
    sentence = f"{said} has {count:,} groups for {grouped:,} cells: a consensus of so few cells "
    return [f"{sentence}says little"]


def label_codes(values: Iterable[str]) -> GroupLabels:
    """Groups of equal values, in the order of their names; those of `NO_VALUE` are none.

    Names that are whole numbers are ordered as numbers: 2 comes before 10.
    """
    places: dict[str, int] = {}
    codes = np.array(
        [
            NO_GROUP if value in NO_VALUE else places.setdefault(value, len(places))
            for value in values
        ],
        np.int32,
    )
    names = sorted(places, key=_order)
    new = np.empty(len(names) + 1, np.int32)
    new[[places[name] for name in names]] = np.arange(len(names), dtype=np.int32)
    new[NO_GROUP] = NO_GROUP  # the last place
    return GroupLabels(names, new[codes])


def _order(name: str) -> tuple[int, int, str]:
    number = name.isascii() and name.isdigit() and len(name) < 19
    return (0, int(name), name) if number else (1, 0, name)
