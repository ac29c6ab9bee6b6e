"""Which cells a pipeline let pass, by `obs["filter_pass"]`, in the spellings of Python and R."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import CellFileError

COLUMN = "filter_pass"
OPTION = "--no-filter-pass"
PASSED = frozenset(("1", "1.0", "true", "t", "yes", "y", "pass", "passed"))
FAILED = frozenset(("0", "0.0", "false", "f", "no", "n", "fail", "failed", "", "na", "nan"))
VALUES_SHOWN = 5


def passed_cells(values: Sequence[str], name: str) -> NDArray[np.int64]:
    """The positions of the cells that passed.

    Args:
        values: The column's value for each cell; a missing one is empty, and did not pass.
        name: The file, for messages.

    Raises:
        CellFileError: A value that is neither, or no cell passed.
    """
    folded = [value.strip().lower() for value in values]
    shown = ", ".join(
        f"{value or '(missing)'} ({count:,} cells)"
        for value, count in Counter(values).most_common(VALUES_SHOWN)
    )
    if not PASSED.union(FAILED).issuperset(folded):
        problem = f'obs["{COLUMN}"] of {name} does not say which cells passed: it holds {shown}'
        hint = f"pass {OPTION} to describe all cells, or write True and False into the column"
        raise CellFileError(problem, hint=hint)
    passed = np.flatnonzero([value in PASSED for value in folded])
    if not len(passed):
        problem = f'obs["{COLUMN}"] of {name} leaves out all {len(values):,} cells: {shown}'
        raise CellFileError(problem, hint=f"pass {OPTION} to describe them all the same")
    return passed
