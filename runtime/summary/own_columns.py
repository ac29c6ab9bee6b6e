"""Which columns are meant perhaps, where one is not there: the user's own, and near names first."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

SHOWN = 20
_NEAR = 5
_LIKENESS = 0.5


def columns_hint(name: str, columns: Sequence[str], *, key: str = "c2t") -> str:
    """A hint for a column that is not there.

    Args:
        name: What was asked for.
        columns: What is there, in its order.
        key: What the names of our own columns begin with; those are not proposed.
    """
    own = [column for column in columns if not column.startswith(f"{key}_")]
    folded = [column for column in own if column.casefold() == name.casefold()]
    near = difflib.get_close_matches(name, own, n=_NEAR, cutoff=_LIKENESS)
    meant = list(dict.fromkeys((*folded, *near)))
    if meant:
        return f"near ones are: {', '.join(meant)}"
    if not own:
        return f"obs has no columns but those that begin with {key}_" if columns else "obs is empty"
    more = f", and {len(own) - SHOWN:,} more" if len(own) > SHOWN else ""
    return f"the columns there are: {', '.join(own[:SHOWN])}{more}"
