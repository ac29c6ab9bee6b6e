"""Genes of a file that stand in a bundle's list, for sentences in the order of that list.

One decision: names are compared without regard to case, and written as the list writes them. The
species of the cells has been judged before, so a mouse's Cd3e is never taken for CD3E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN
from c2t.runtime.cells.gene_matching import GeneMatch
from c2t.runtime.system.errors import CellFileError


def listed_places(symbols: Sequence[str], listed: Sequence[str]) -> NDArray[np.int32]:
    """The place [symbols] int32 of each symbol in the list, -1 for none."""
    place = {name.upper(): number for number, name in enumerate(listed)}
    return np.array([place.get(name.upper(), UNKNOWN) for name in symbols], dtype=np.int32)


def listed_columns(match: GeneMatch, listed: Sequence[str]) -> NDArray[np.int32]:
    """The place [columns] int32 of each column's gene in the list, -1 for none."""
    places = np.append(listed_places(match.symbols, listed), np.int32(UNKNOWN))
    columns: NDArray[np.int32] = places[match.column_gene]  # -1 takes the last
    return columns


def with_listed(match: GeneMatch, listed: Sequence[str]) -> GeneMatch:
    """The same genes, with a report that says how many of the list they are.

    Raises:
        CellFileError: The file has none of them.
    """
    columns = listed_columns(match, listed)
    there = len(np.unique(columns[columns != UNKNOWN]))
    if not there:
        shown = ", ".join(f"`{name}`" for name in match.symbols[:3])
        problem = f"the file has none of the {len(listed):,} genes that the bundle reads: it has "
        problem += f"{shown}"
        hint = "pass `--gene-column NAME` with the column of symbols"
        raise CellFileError(problem, hint=hint)
    said = f"{match.report.sentence}; {there:,} of the {len(listed):,} genes that the bundle reads"
    return replace(match, report=replace(match.report, sentence=said))
