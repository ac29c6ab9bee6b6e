"""Which genes are worth a run of their own: groups of ranks are blanked, and the strongest divided.

Two decisions. A blanked rank keeps its place, so that nothing shifts: groups then add up, in log
odds (measured on the demonstration model: correlation 0.99 of a group of 8 with the sum of its
genes). So a group that is divided costs one run, the other half is the rest. And what is blanked is
only a hint where to look: no figure rests on it. Every gene reported was really left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.explain.options import Plan

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]
# Log odds lost when each of some stretches of places is blanked.
Blank = Callable[[list[tuple[int, int]]], Float64]

# Groups that are divided before the next ones are chosen. Fixed, so that no result depends on the
# size of batches.
ROUND = 16


@dataclass(frozen=True)
class Group:
    """Neighbouring places [first, end) and the log odds that the words lose without them."""

    first: int
    end: int
    moved: float

    @property
    def size(self) -> int:
        """How many places."""
        return self.end - self.first

    @property
    def promise(self) -> float:
        """How much a single gene in it may move: few of a group do."""
        return abs(self.moved) / math.sqrt(self.size)


def screen(genes: int, plan: Plan, blank: Blank) -> list[Group]:
    """Blank groups and divide the strongest.

    Args:
        genes: Places of the cell.
        plan: How many runs there are.
        blank: Scores.

    Returns:
        Groups that cover all places, the most promising first.
    """
    stretches = [(a, min(a + plan.block, genes)) for a in range(0, genes, plan.block)]
    moved = blank(stretches)
    sizes = np.array([end - first for first, end in stretches])
    usual = float(np.median(moved / sizes))  # what a blank place moves, whatever was there
    groups = [
        Group(first, end, float(value - usual * (end - first)))
        for (first, end), value in zip(stretches, moved, strict=True)
    ]
    left = plan.splits
    while left:
        groups.sort(key=lambda group: (-group.promise, group.first))
        chosen = [group for group in groups if group.size > 1][: min(left, ROUND)]
        if not chosen:
            break
        halves = [(group.first, (group.first + group.end) // 2) for group in chosen]
        values = blank(halves)
        for group, (first, end), value in zip(chosen, halves, values, strict=True):
            own = float(value - usual * (end - first))
            groups.remove(group)
            groups += [Group(first, end, own), Group(end, group.end, group.moved - own)]
        left -= len(chosen)
    return sorted(groups, key=lambda group: (-group.promise, group.first))


def promising(groups: list[Group], count: int, known: Indices) -> Indices:
    """The places to be left out one by one, ascending.

    Args:
        groups: The most promising first.
        count: At most so many.
        known: Places that are left out anyway.
    """
    seen = set(known.tolist())
    found: list[int] = []
    for group in groups:
        found += [place for place in range(group.first, group.end) if place not in seen]
        if len(found) >= count:
            break
    return np.array(sorted(found[:count]), dtype=np.int64)
