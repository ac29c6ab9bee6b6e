"""Work that is given out ahead of its turn, and taken back in order.

One decision: a window, counted from the oldest piece that is not finished. What waits for its turn
is bounded by it, however slow one worker is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from c2t.runtime.output.describe_file import CHUNK_CELLS

AHEAD = 4  # ranges a worker has waiting or unread: what a slow neighbour may hold up
WINDOWS_OF_RANGE = 4  # a range is at least so many times what a worker takes at once
RANGES_OF_WORKER = 32  # of a short file, so that workers end at the same time
RANGE_CELLS_MAX = 16 * CHUNK_CELLS

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(
    ranges: Iterable[tuple[int, int]],
    submit: Callable[[int, int], Task],
    take: Callable[[Task], Result],
    *,
    ahead: Callable[[], int],
) -> Iterator[Result]:
    """Give out ranges, and yield their results in the order of the ranges.

    Args:
        ranges: Pieces of work.
        submit: Gives out [start, stop), and does not wait.
        take: Waits for a result.
        ahead: Most pieces that are given out and not taken back; asked again before each.
    """
    waiting = deque[Task]()
    left = iter(ranges)
    while True:
        while len(waiting) < max(1, ahead()):
            following = next(left, None)
            if following is None:
                break
            waiting.append(submit(*following))
        if not waiting:
            return
        yield take(waiting.popleft())


def range_cells(cells: int, workers: int, cells_at_once: int) -> int:
    """Cells of one piece of work, a multiple of what `describe` reads at once.

    Large enough that a worker's threads are busy, small enough that workers end together.
    """
    least = -(-WINDOWS_OF_RANGE * cells_at_once // CHUNK_CELLS) * CHUNK_CELLS
    fair = cells // (workers * RANGES_OF_WORKER) // CHUNK_CELLS * CHUNK_CELLS
    return max(least, min(fair, RANGE_CELLS_MAX))
