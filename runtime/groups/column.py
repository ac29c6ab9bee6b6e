"""Groups that a column of `obs` gives: users' own clusters.

One decision: a cell without a value is in no group. It is counted and said, never put anywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from c2t.runtime.groups.labels import GroupLabels, few_cells, label_codes
from c2t.runtime.groups.options import LEIDEN
from c2t.runtime.labels.measured import check_labels
from c2t.runtime.system.errors import CellFileError

SHOWN = 5  # names of columns in a hint
# A consensus of fewer cells than this, on average, says hardly more than the cells.
FEW_CELLS = 2


def check_column(name: str, columns: Sequence[str], file: str) -> None:
    """Refuse a column that is not there.

    Raises:
        CellFileError: Names those that are meant perhaps.
    """
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=SHOWN, cutoff=0.5)
    folded = [column for column in columns if column.casefold() == name.casefold()]
    shown = list(dict.fromkeys((*folded, *near))) or sorted(columns)[:SHOWN]
    among = ", ".join(shown) if shown else "none"
    meant = "near ones are" if near or folded else "there are"
    problem = f"{file} has no column {name!r} in obs to group by"
    raise CellFileError(
        problem, hint=f"{meant}: {among}; or `--group-by {LEIDEN}` computes clusters"
    )


def column_groups(name: str, values: Sequence[str]) -> GroupLabels:
    """The groups of a column.

    Args:
        name: The column.
        values: Of the chosen cells, as text; one of `NO_VALUE` where there is none.

    Raises:
        CellFileError: No cell has a value, or the values are measurements.
    """
    check_labels(name, values)
    labels = label_codes(values)
    if not labels.names:
        problem = f"obs[{name!r}] has no value for any of the {len(values):,} chosen cells"
        raise CellFileError(problem, hint="choose another column, or other cells")
    return labels


def column_warnings(name: str, labels: GroupLabels) -> list[str]:
    """What is doubtful about the groups of a column, a sentence each."""
    warnings = []
    missing = len(labels.codes) - labels.grouped
    if missing:
        has, is_ = ("cell has", "is") if missing == 1 else ("cells have", "are")
        warnings.append(f"{missing:,} {has} no value in obs[{name!r}] and {is_} in no group")
    return warnings + few_cells(labels, f"obs[{name!r}]", least=FEW_CELLS)
