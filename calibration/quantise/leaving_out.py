"""The fewest products to leave out: tried in doubling numbers, then by halving the gap."""

from __future__ import annotations

from collections.abc import Callable


def fewest(most: int, passes: Callable[[int], bool]) -> int | None:
    """The smallest number that passes, if more never hurts.

    Args:
        most: The largest number to try.
        passes: Tries a number; called once for each.

    Returns:
        None if not even `most` passes.
    """
    failed, number = -1, 0
    while not passes(number):
        if number >= most:
            return None
        failed = number
        number = min(most, max(1, 2 * number))
    while number - failed > 1:
        middle = (number + failed) // 2
        if passes(middle):
            number = middle
        else:
            failed = middle
    return number
