"""Two namings of the same cells, counted against each other.

One decision: columns are ordered by the row that most of their cells lie in, so that agreement is
seen as a diagonal whatever the two sides call a type. No name is compared with another: whoever
knows that two names mean one thing says so with a map. An unsure cell counts by what its text says;
how the sure cells alone agree is stated beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.summary.categories import Categories, categorise

NO_LABEL = "no label"
OTHER_LABELS = "other labels"
OTHER_TYPES = "other types"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far labels and types agree, of some of the cells.

    Attributes:
        same: Cells whose two names are equal, letter case aside.
        cells: Those that have a label.
        rand_index: How alike the two part the cells, whatever the names; see `adjusted_rand_index`.
    """

    same: int
    cells: int
    rand_index: float


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossTable:
    """Cells by their own label (rows) and their described type (columns).

    Attributes:
        rows: Own labels, the most frequent first.
        columns: Described types, ordered by the row that most of their cells lie in.
        counts: [rows, columns] int64 cells.
        same: Cells whose two names are equal, letter case aside.
        cells: All cells that have a label.
        rand_index: How alike the two part the cells, whatever the names; see `adjusted_rand_index`.
        sure: The same of the cells that are not unsure; None: it is not known which are.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]
    same: int
    cells: int
    rand_index: float
    sure: Agreement | None = None

    @property
    def shares(self) -> NDArray[np.float64]:
        """[rows, columns] cells as a share of their row."""
        total = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(total, 1))


def cross_table(
    own: Sequence[str | None],
    described: Sequence[str | None],
    label_map: Mapping[str, str] | None = None,
    *,
    unsure: Sequence[bool] | None = None,
    most: int = 40,
) -> CrossTable:
    """Count cells by their own label and by their described type.

    Args:
        own: [cells] labels; None or "" for a cell without one.
        described: [cells] described types; see `categorise`.
        label_map: What own labels are called in the descriptions. Labels that it lacks stay.
        unsure: [cells] which are unsure of their type; None: not known.
        most: Rows and columns at most; what is rarer is summed up in one row or column.
    """
    names = label_map or {}
    mapped = [names.get(label, label) if label else None for label in own]
    left, right = categorise([label or NO_LABEL for label in mapped]), categorise(described)
    counts = np.zeros((len(left.labels), len(right.labels)), np.int64)
    np.add.at(counts, (left.codes, right.codes), 1)
    every = np.ones(len(mapped), bool)
    pairs = zip(mapped, described, strict=True)
    equal = np.array([bool(a and b and a.casefold() == b.casefold()) for a, b in pairs], bool)
    labelled = np.array([bool(label) for label in mapped], bool)

    def agreement(chosen: NDArray[np.bool_]) -> Agreement:
        among = np.zeros_like(counts)
        np.add.at(among, (left.codes[chosen], right.codes[chosen]), 1)
        return Agreement(
            same=int((equal & chosen).sum()),
            cells=int((labelled & chosen).sum()),
            rand_index=adjusted_rand_index(among),
        )

    whole = agreement(every)
    sure = None if unsure is None else agreement(~np.array(unsure, bool))
    rows, counts = _fewer(left, counts, most, OTHER_LABELS)
    columns, turned = _fewer(right, counts.T, most, OTHER_TYPES)
    order = _diagonal(turned, right.types if right.types <= most else most)
    return CrossTable(
        rows=rows,
        columns=tuple(columns[place] for place in order),
        counts=turned[order].T,
        same=whole.same,
        cells=whole.cells,
        rand_index=whole.rand_index,
        sure=sure,
    )


def adjusted_rand_index(counts: NDArray[np.int64]) -> float:
    """How alike two groupings part the same cells: 1 for equal, about 0 for chance.

    Source: Hubert and Arabie, "Comparing partitions" (1985), doi:10.1007/BF01908075.

    Args:
        counts: [groups, groups] cells in each pair of groups.
    """

    def pairs(numbers: NDArray[np.int64]) -> float:
        exact = numbers.astype(np.float64)
        return float((exact * (exact - 1) / 2).sum())

    both, total = pairs(counts), pairs(counts.sum(keepdims=True))
    left, right = pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    chance = left * right / total if total else 0.0
    most = (left + right) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _fewer(
    groups: Categories, counts: NDArray[np.int64], most: int, other: str
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The lines of the most frequent types, of the others together, and of what is no type."""
    if groups.types <= most:
        return groups.labels, counts
    rest = counts[most : groups.types].sum(axis=0, keepdims=True)
    labels = (*groups.labels[:most], other, *groups.labels[groups.types :])
    return labels, np.concatenate([counts[:most], rest, counts[groups.types :]])


def _diagonal(columns: NDArray[np.int64], types: int) -> list[int]:
    """The order of columns [columns, rows]; those that are no types stay at the end."""
    order = sorted(
        range(types), key=lambda place: (int(columns[place].argmax()), -int(columns[place].max()))
    )
    return [*order, *range(types, len(columns))]
