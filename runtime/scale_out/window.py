"""Work that is given out ahead of its turn, and taken back in order.

One decision: a window, counted from the oldest piece that is not finished. What waits for its turn
is bounded by it, however slow one worker is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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
