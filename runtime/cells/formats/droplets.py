"""Says where a file holds empty droplets beside the cells: by its name, or by its counts.

A paragraph about an empty droplet reads like one about a cell. So it is said before the work.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]+")
RAW_WORDS = frozenset(("raw", "unfiltered", "unfilt"))
FILTERED_WORDS = frozenset(("filtered", "filt"))
# Barcodes without any count: no caller of cells leaves one.
EMPTY_SHARE = 0.2


def words(name: str) -> frozenset[str]:
    """The words of a file's name, in lower case."""
    return frozenset(_WORD.findall(name.lower()))


def droplets_said(name: str, *, empty: int, barcodes: int) -> tuple[str, ...]:
    """What to say about a file that may hold empty droplets.

    Args:
        name: Of the file, or of its folder and itself.
        empty: Barcodes without counts.
        barcodes: All.
    """
    if not (words(name) & RAW_WORDS or empty > EMPTY_SHARE * barcodes):
        return ()
    said = f"{name} looks like all droplets of a run, not its cells"
    if empty:
        said += f" ({empty:,} of {barcodes:,} barcodes have no counts)"
    return (f"{said}: empty droplets are described too; take the filtered matrix of the run",)
