"""What a matrix holds, by some of its cells.

One decision: values are judged by themselves, never by a name in the file. Each cell is judged, and
the most frequent kind is that of the matrix. Only the order of genes within a cell matters. So a
factor for each cell does no harm, and a logarithm can be undone. Values that were scaled gene by
gene (z-scores, TPM), or imputed, have lost the order and are refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.cells.values.cell_kinds import (
    COUNTS,
    LOG_MAX,
    UNCLEAR,
    CellKind,
    classify,
    is_rounded,
    probe,
    transforms,
    whole_cells,
)
from c2t.runtime.cells.values.whole_values import (
    FEW_CELLS,
    background,
    cell_totals,
    judge_whole,
    spread,
)

_USE_COUNTS = "use the raw counts of these cells"
_NORMALIZED = f"{_USE_COUNTS}; to go on with the order of these values, pass "
_NORMALIZED += "`--counts-are normalized`"

# Counts; counts corrected to fractions; their log1p; counts times a factor for each cell; other
# positive values; z-scores and other values with negative ones; none.
Kind = Literal["counts", "corrected", "log1p", "proportional", "normalized", "scaled", "nothing"]

WORDS: dict[Kind, str] = {
    "counts": "raw counts",
    "corrected": "corrected counts (not whole, as SoupX, DecontX or EM give)",
    "log1p": "log1p of counts",
    "proportional": "counts scaled cell by cell",
    "normalized": "normalized values that are not counts (such as TPM)",
    "scaled": "scaled values (z-scores: there are negative ones)",
    "nothing": "no values",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the values of a matrix are.

    Args:
        kind: See `Kind`.
        log_base: Base of the logarithm to undo; None where none was taken.
        warning: What is doubtful about this finding, or "".
        words: What the values are, more exactly than `WORDS` says it; or "".
        hint: What would help, where they cannot be taken; or "".
        cell: What each of its cells must be; None where they are not checked.
        total: Sum of each cell where all have the same, else None.
    """

    kind: Kind
    log_base: float | None = None
    warning: str = ""
    words: str = ""
    hint: str = ""
    cell: CellKind | None = None
    total: float | None = None

    @property
    def description(self) -> str:
        """What the values are, in words."""
        return self.words or WORDS[self.kind]


@np.errstate(all="ignore")  # values of a damaged file may be of any size
def judge(
    sample: SparseRows, *, stated_base: float | None = None, silent_genes: bool = True
) -> Finding:
    """Say what the values of a matrix are.

    Args:
        sample: Some of its cells.
        stated_base: Base of a logarithm that the file says was applied. It is tried, and taken
            where the values leave several.
        silent_genes: Whether genes that no cell has have a column too.
    """
    row, values = sample.row_index(), np.asarray(sample.data, dtype=np.float64)
    cells = sample.shape[0]
    filled = np.bincount(row[values != 0], minlength=cells) > 0
    negative = np.bincount(row[values < 0], minlength=cells) > 0
    added = background(sample, silent_genes=silent_genes)
    if added is not None:
        return _with_background(added, values)
    # Negative values in some cells are errors of those cells; in most, the matrix is scaled.
    if negative.sum() * 2 > filled.sum():
        return _with_negatives(values)
    bad = np.bincount(row[~np.isfinite(values) | (values < 0)], minlength=cells) > 0
    use = (values > 0) & ~bad[row]
    row, values, column = row[use], values[use], sample.indices[use]
    if not len(values):
        return Finding(kind="nothing")

    good = np.flatnonzero(~bad)
    probes = probe(sample.take(good) if len(good) < cells else sample)
    each = classify(probes, transforms(stated_base))
    # Whole numbers of a few genes may be anything, but in most files they are counts.
    whole = whole_cells(probes) & ~np.isnan(probes).all(axis=1)
    kinds = Counter(COUNTS if w else kind for kind, w in zip(each, whole, strict=True))
    kinds.pop(UNCLEAR, None)
    if not kinds:  # equal values, or too few: any of the kinds in which the order is right
        if stated_base is None or values.max() * np.log(stated_base) > LOG_MAX:
            return Finding(kind="normalized", hint=_NORMALIZED)
        doubt = "too few different values to tell what they are: taken as the file states them"
        return Finding(kind="log1p", log_base=stated_base, warning=doubt)
    kind = _most_frequent(kinds, stated_base)
    if kind == COUNTS:
        counted = np.zeros(cells, dtype=bool)
        counted[good[whole]] = True
        of_counts = counted[row]
        refused, doubt = judge_whole(values[of_counts], row[of_counts], column[of_counts])
        if refused:
            return Finding(kind="normalized", words=refused, hint=_NORMALIZED)
        return Finding(kind="counts", warning=doubt, cell=COUNTS)
    undone = kind.fit != "none" and kind.transform in ("none", "log")
    if undone and kind.fit == "corrected" and kind.transform == "log":
        kind, undone = _logarithm_of_corrected(kind, values, row, stated_base)
    if not undone or _imputed(row, column, kind):
        return _refused(kind, values, row, column, stated_base)
    blurred = sum(number for k, number in kinds.items() if k.fit == "corrected")
    if kind.fit == "corrected" or is_rounded(probes) or blurred < 0.1 * sum(kinds.values()):
        blurred = 0
    return _taken(kind, values, row, blurred=blurred)


def _most_frequent(kinds: Counter[CellKind], stated_base: float | None) -> CellKind:
    """The kind of most cells; among equals the simpler, then the one that the file states."""

    def weight(kind: CellKind) -> tuple[int, bool, bool, bool]:
        return (
            kinds[kind],
            kind.fit == "whole",
            kind.fit in ("multiples", "corrected"),
            kind.base is not None and kind.base == stated_base,
        )

    return max(kinds, key=weight)


def _taken(
    kind: CellKind, values: NDArray[np.float64], row: NDArray[np.int64], *, blurred: int
) -> Finding:
    warning = ""
    if blurred:
        warning = f"{blurred:,} of the cells looked at come from corrected counts: the order of "
        warning += "their genes may differ a little from that of the counts as they were read"
    if kind.fit == "corrected":
        warning = f"{kind.words}: the order of genes may differ a little from that of the counts"
        warning += " as they were read"
    if kind.transform == "log":
        return Finding(kind="log1p", log_base=kind.base, warning=warning, cell=kind)
    if kind.fit == "corrected":
        return Finding(kind="corrected", warning=warning, cell=kind)
    totals = cell_totals(values, row)
    total = float(np.median(totals)) if spread(totals) < 0.02 else None
    return Finding(kind="proportional", cell=kind, total=total)


def _logarithm_of_corrected(
    kind: CellKind, values: NDArray[np.float64], row: NDArray[np.int64], stated: float | None
) -> tuple[CellKind, bool]:
    """The base of logarithms whose grid is blurred, and whether one is sure enough.

    It is the base that, undone, gives all cells the same total. Where there is none, the file's own
    word decides, and with few cells the fit.
    """
    base = _base_of_equal_totals(values, row, stated)
    base = base or stated or (kind.base if len(np.unique(row)) < FEW_CELLS else None)
    return (replace(kind, base=base), True) if base is not None else (kind, False)


def alike(kind: CellKind, taken: CellKind) -> bool:
    """Whether a cell of one kind is right where another is taken.

    Corrected counts are odd among whole ones only: elsewhere rounding may have blurred the grid.
    """
    if kind == taken or kind.fit == "unclear":
        return True
    if kind.fit == "none" or taken.fit == "whole":
        return False
    if kind.fit == "whole":
        return taken.transform == "none"
    return (kind.transform, kind.base) == (taken.transform, taken.base)


def _imputed(row: NDArray[np.int64], column: NDArray[np.int64], kind: CellKind) -> bool:
    """Whether every gene that any cell has is in every cell: zeros were filled in."""
    cells, genes = len(np.unique(row)), len(np.unique(column))
    if cells < 5 or genes < 50 or (kind.fit == "multiples" and kind.transform in ("none", "log")):
        return False
    return len(row) >= 0.95 * cells * genes


def _refused(
    kind: CellKind,
    values: NDArray[np.float64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    stated_base: float | None,
) -> Finding:
    if _imputed(row, column, kind):
        words = "a value for every gene in every cell (imputed, smoothed or denoised values)"
        return Finding(kind="normalized", words=words, hint=_NORMALIZED)
    if kind.transform in ("log twice", "square root"):
        once = "take one logarithm back" if kind.transform == "log twice" else "square the values"
        hint = f"{_USE_COUNTS}, or {once} first"
        return Finding(kind="normalized", words=kind.words, hint=hint)
    if _scaled_by_gene(values, row, column):
        words = "values divided by the standard deviation of their gene (scaled without centring)"
        return Finding(kind="normalized", words=words, hint=_NORMALIZED)
    base = _base_of_equal_totals(values, row, stated_base)
    if base is None:
        return Finding(kind="normalized", hint=_NORMALIZED)
    named = "log1p" if base == float(np.e) else f"log{base:g}"
    words = f"{named} of {WORDS['normalized']}"
    hint = _NORMALIZED.replace("normalized", "log1p")
    return Finding(kind="normalized", words=words, log_base=base, hint=hint)


def _scaled_by_gene(
    values: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64]
) -> bool:
    """Whether the standard deviation of nearly every gene is 1."""
    cells, genes = int(row.max()) + 1, int(column.max()) + 1
    number = np.bincount(column, minlength=genes)
    mean = np.bincount(column, weights=values, minlength=genes) / cells
    square = np.bincount(column, weights=values * values, minlength=genes) / cells
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))[number >= 5]
    if len(deviation) < 20:
        return False
    low, middle, high = np.percentile(deviation, [10, 50, 90])
    return bool(0.7 < middle < 1.3 and low > 0.75 * middle and high < 1.25 * middle)


def _base_of_equal_totals(
    values: NDArray[np.float64], row: NDArray[np.int64], stated_base: float | None
) -> float | None:
    """Base of the logarithm that, undone, gives all cells the same total."""
    best, width = None, 0.1
    for kind in transforms(stated_base):
        base = kind.base
        if base is None or values.max() * np.log(base) > np.log(1e7):
            continue
        narrow = spread(cell_totals(np.expm1(values * np.log(base)), row))
        if narrow < width:
            best, width = base, narrow
    return best


def _with_background(added: float, values: NDArray[np.float64]) -> Finding:
    whole = bool((np.abs(values - np.rint(values)) <= 1e-3).all())
    what = f"counts plus {added:g}" if whole else f"values with {added:.4g} added or subtracted"
    words = f"{what}: every gene has a value in every cell, most of them {added:.4g}"
    hint = f"{_USE_COUNTS}, or take {added:.4g} away from every value first"
    return Finding(kind="normalized" if added > 0 else "scaled", words=words, hint=hint)


def _with_negatives(values: NDArray[np.float64]) -> Finding:
    stored = values[(values != 0) & ~np.isnan(values)]
    share = float((stored < 0).mean())
    if share > 0.2:
        return Finding(kind="scaled")
    words = (
        f"values of which {share:.1%} are negative (batch-corrected, or a background subtracted)"
    )
    return Finding(kind="scaled", words=words)
