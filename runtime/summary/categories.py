"""Cells sorted into named groups: the most frequent first, and what is no group at the end.

One decision: "unsure" and "not described" are kept apart from the types. They are counted and
shown, in grey, but they are nobody's cell type. Tables count an unsure cell by what its text says,
and state beside it how many are unsure; only pictures may take "unsure" for its group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"
FAILED = "not described"
NOT_NAMED = "no type named"
# In the order in which they are shown, after all types.
SPECIAL = (UNSURE, NOT_NAMED, FAILED)


@dataclass(frozen=True, eq=False, kw_only=True)
class Categories:
    """Cells and the group that each belongs to.

    Attributes:
        labels: Names of the groups: types by their number of cells, then those of `SPECIAL`.
        codes: [cells] int64, each cell's place in `labels`.
        counts: [labels] int64, cells of each group.
    """

    labels: tuple[str, ...]
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def types(self) -> int:
        """How many of the labels are types."""
        return sum(label not in SPECIAL for label in self.labels)

    def share(self, label: int) -> float:
        """Cells of a group as a share of all cells, 0 to 1."""
        return int(self.counts[label]) / max(len(self.codes), 1)

    def of_at_most(self, types: int) -> tuple[Categories, int]:
        """The most frequent types alone; the cells of the others have the code -1.

        Returns:
            The groups, and how many types were left out.
        """
        left_out = max(self.types - types, 0)
        if not left_out:
            return self, 0
        keep = [*range(types), *range(self.types, len(self.labels))]
        new = np.full(len(self.labels), -1, np.int64)
        new[keep] = np.arange(len(keep))
        codes = new[self.codes] if len(self.codes) else self.codes
        labels = tuple(self.labels[place] for place in keep)
        return Categories(labels=labels, codes=codes, counts=self.counts[keep]), left_out


def categorise(values: Sequence[str | None]) -> Categories:
    """Sort cells into groups.

    Args:
        values: [cells] a type's name, one of `SPECIAL`, or None or "" for `NOT_NAMED`.
    """
    named = [value or NOT_NAMED for value in values]
    counted = Counter(named)
    types = sorted(
        (name for name in counted if name not in SPECIAL), key=lambda name: (-counted[name], name)
    )
    labels = [*types, *(name for name in SPECIAL if name in counted)]
    place = {label: number for number, label in enumerate(labels)}
    return Categories(
        labels=tuple(labels),
        codes=np.fromiter((place[name] for name in named), np.int64, len(named)),
        counts=np.array([counted[label] for label in labels], np.int64),
    )


def cells_words(number: int) -> str:
    """A number of cells with its noun."""
    return "1 cell" if number == 1 else f"{number:,} cells"


def shares(values: Sequence[str | None], *, most: int = 3) -> list[tuple[str, float]]:
    """The most frequent values with their shares; missing ones count among all."""
    counted = Counter(value for value in values if value)
    return [(value, count / len(values)) for value, count in counted.most_common(most)]
