"""Groups of cells that a program gives, as places of cells by the name of each group."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

import numpy as np

from c2t.runtime.system.errors import C2TError

Groups = list[tuple[str, list[int]]]  # the name of each, and its places, increasing
_HINT = 'give the places of their cells, as `adata.obs.groupby("leiden").indices` has them'


def given_groups(groups: object) -> Groups:
    """The groups of a caller, in order.

    Args:
        groups: The places of each group's cells, by its name.

    Raises:
        C2TError: It is no such mapping; a group is empty; a place is no number, such as the name of
            a cell, or a mask.
    """
    if not isinstance(groups, Mapping):
        problem = f"the groups are {str(groups)[:60]!r}, not places by name"
        raise C2TError(problem, hint=_HINT)
    return [(str(name), _places(str(name), places)) for name, places in groups.items()]


def check_places(groups: Groups, cells: int) -> None:
    """Refuse places that no cell has.

    Args:
        groups: Of `given_groups`.
        cells: How many there are.

    Raises:
        C2TError: A group has one.
    """
    for name, places in groups:
        wrong = places[0] if places[0] < 0 else places[-1]
        if not 0 <= wrong < cells:
            problem = f"the group {name!r} has place {wrong:,}, which no cell has"
            raise C2TError(problem, hint=f"there are {cells:,} cells, counted from 0")


def _places(name: str, places: object) -> list[int]:
    """The places of a group, increasing, each once."""
    if isinstance(places, str) or not isinstance(places, Iterable):
        problem = f"the group {name!r} is {str(places)[:60]!r}, not places of cells"
        raise C2TError(problem, hint=_HINT)
    found = set[int]()
    for place in places:
        if isinstance(place, (bool, np.bool_)):
            problem = f"the group {name!r} is a mask"
            raise C2TError(problem, hint="give its places: `numpy.flatnonzero(mask)`")
        try:
            found.add(operator.index(place))
        except TypeError:
            problem = f"the group {name!r} has {str(place)[:60]!r} among the places of its cells"
            raise C2TError(problem, hint=_HINT) from None
    if not found:
        problem = f"the group {name!r} is empty"
        raise C2TError(problem, hint="leave it out")
    return sorted(found)
