"""Which cells lie in which part, and what is left to do. Pure arithmetic: no file is looked at.

One decision: the cuts depend on the number of cells alone, never on how many workers there are or
on where a run was interrupted. So the parts of two runs are the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Some 30 MB of text, compressed less than 10; an atlas of 100 million cells has 1,526 parts.
PART_CELLS = 65_536


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file: the cells [first, stop) of a run."""

    number: int
    first: int
    stop: int

    @property
    def cells(self) -> int:
        """Number of its cells."""
        return self.stop - self.first

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """All parts of a run.

    Args:
        cells: Cells of the run.
        part_cells: Cells of a part; the last one may have fewer.
    """

    cells: int
    part_cells: int = PART_CELLS

    def __len__(self) -> int:
        return -(-self.cells // self.part_cells)

    def part(self, number: int) -> Part:
        """The part of a number, from 0."""
        first = number * self.part_cells
        return Part(number=number, first=first, stop=min(first + self.part_cells, self.cells))

    def after(self, finished: int) -> Iterator[Part]:
        """The parts that are left when the first `finished` are in place."""
        return map(self.part, range(finished, len(self)))


def ranges_left(done: int, cells: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges [start, stop) of cells that are left when the first `done` are described.

    All but the first begin at a multiple of `size`: a run that goes on gives out the same pieces of
    work as one that was never interrupted.
    """
    while done < cells:
        stop = min(done - done % size + size, cells)
        yield done, stop
        done = stop
