"""What the values of each single cell are: counts, or what was made of them.

One decision: the fit decides. Counts are whole numbers, so whatever was done to all genes of a cell
alike can be recognised: undo it, and the values are whole multiples of the smallest one, which is
nearly always one molecule. What was done gene by gene leaves no such grid. A few values of a cell
show it, so that each cell of a large file can be judged as it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.sparse_rows import SparseRows

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Transform = Literal["none", "log", "log twice", "square root"]

WHOLE_TOLERANCE = 1e-3
LOG_MAX = 15.0  # ln(1 + 3.3 million): no cell has a gene of that share of 10,000 or a million
# Values looked at in each cell, spread evenly over its entries; and at first, as cells are read.
PROBES, FIRST_PROBES = 256, 64
_STRAY = 0.02  # share of values that may be no whole numbers in a cell of counts
# Multiples from 2 to 8 are tested: rounding blurs larger ones. A value that is no multiple passes 1
# time in 20; three of them by chance 1 time in 8,000.
_RATIO_MAX, _NEAR, _LEAST, _SHARE = 8.0, 0.025, 3, 0.9
# Corrected counts lie beside the grid: so many of the ones and twos must be so near.
_CORRECTED_NEAR, _CORRECTED_SHARE, _CORRECTED_LEAST = 0.2, 0.6, 8
# log2(1 + x) is whole for 1, 3 and 7: so many values above 1 must be whole to be surely counts.
_COUNTED_LEAST, _LOG2_MAX = 15, 20.0
_PARTLY = 0.3
# With fewer values above the smallest, a cell can be anything.
_CLEAR_LEAST = 10


@dataclass(frozen=True, kw_only=True)
class CellKind:
    """What the values of a cell are.

    Args:
        transform: What was done to all genes of the cell alike.
        base: Base of the logarithm, log_base(1 + x); None without one.
        fit: "whole": whole numbers; "multiples": whole multiples of one number; "corrected": near
            to such multiples; "none": neither; "unclear": too few different values to say.
    """

    transform: Transform = "none"
    base: float | None = None
    fit: Literal["whole", "multiples", "corrected", "none", "unclear"] = "unclear"

    @property
    def words(self) -> str:
        """What the values are, for messages."""
        if self.fit == "none":
            return "values that are not multiples of a count (by gene length, imputed, or scaled)"
        if self.fit == "unclear":
            return "too few values to tell"
        if self.transform == "log":
            base = "" if self.base is None or self.base == float(np.e) else f" (base {self.base:g})"
            return f"log1p of {'corrected ' * (self.fit == 'corrected')}counts{base}"
        if self.transform == "log twice":
            return "logarithms of logarithms of counts (log1p was applied twice)"
        if self.transform == "square root":
            return "square roots of counts"
        if self.fit == "corrected":
            return "corrected counts (not whole, as SoupX, DecontX or EM give)"
        return "raw counts" if self.fit == "whole" else "counts scaled cell by cell"


UNCLEAR = CellKind()
OTHER = CellKind(fit="none")
COUNTS = CellKind(fit="whole")


def transforms(stated_base: float | None = None) -> list[CellKind]:
    """What may have been done to counts, and is tried on each cell.

    Args:
        stated_base: Base of a logarithm that the file says was applied: tried, not believed.
    """
    bases = [float(np.e), 2.0, 10.0]
    if stated_base is not None and not np.isclose(stated_base, bases).any():
        bases.append(stated_base)
    tried: list[tuple[Transform, float | None]] = [("none", None)]
    tried += [("log", base) for base in bases]
    tried += [("log twice", None), ("square root", None)]
    return [CellKind(transform=t, base=b, fit="multiples") for t, b in tried]


def undo(values: Floats, kind: CellKind) -> Floats:
    """Values as they were before the transform; NaN for a logarithm too large to be one."""
    if kind.transform == "none":
        return values
    if kind.transform == "square root":
        return np.asarray(values * values)
    scale = 1.0 if kind.base is None else float(np.log(kind.base))
    logged = np.where(values * scale <= LOG_MAX, values * scale, np.nan)
    once = np.expm1(logged)
    if kind.transform == "log twice":
        once = np.expm1(np.where(once <= LOG_MAX, once, np.nan))
    return np.asarray(once)


def probe(rows: SparseRows, most: int = PROBES) -> Floats:
    """Some values of each cell, [B, P] float64; NaN for none, and for zeros and bad values."""
    lengths = rows.lengths
    width = min(most, int(lengths.max(initial=0)))
    if not width:
        return np.full((len(lengths), 1), np.nan)
    step = np.arange(width, dtype=np.int64)
    position = np.where(lengths[:, None] > width, step * lengths[:, None] // width, step)
    there = position < lengths[:, None]
    entry = np.where(there, rows.indptr[:-1, None] + position, 0)
    values = rows.data[entry].astype(np.float64)
    return np.where(there & (values > 0) & (values < np.inf), values, np.nan)


def whole_cells(values: Floats) -> Bools:
    """[B] which cells hold whole numbers, but for a stray value.

    Args:
        values: [B, P] as `probe` gives them.
    """
    nearest = np.maximum(np.rint(values), 1)
    broken = np.abs(values - nearest) > WHOLE_TOLERANCE  # False for NaN
    if not broken.any():
        return np.ones(len(values), dtype=bool)
    return np.asarray(broken.mean(axis=1) * values.shape[1] <= _STRAY * _number(values))


def multiples(values: Floats, divisor: int = 1) -> tuple[Bools, Floats]:
    """Whether the values of each cell are whole multiples of its smallest.

    Two different multiples at least must be there: one alone may be chance.

    Args:
        values: [B, P] values with the transform undone; NaN for none.
        divisor: The smallest value is this multiple.

    Returns:
        [B] whether they are; [B] their mean distance from such multiples.
    """
    ratio = values * (divisor / _smallest(values))[:, None]
    tested = (ratio > divisor * (1 + _NEAR)) & (ratio <= _RATIO_MAX)
    nearest = np.rint(ratio)
    off = np.where(tested, np.abs(ratio - nearest), 0)
    number = tested.sum(axis=1)
    passed = (tested & (off <= _NEAR)).sum(axis=1)
    several = np.where(tested, nearest, -np.inf).max(axis=1) > np.where(
        tested, nearest, np.inf
    ).min(axis=1)
    fits = several & (number >= _LEAST) & (passed >= _SHARE * number)
    return fits, off.sum(axis=1) / np.maximum(number, 1)


def classify(values: Floats, tried: Sequence[CellKind]) -> list[CellKind]:
    """What the values of each of B cells are.

    Args:
        values: [B, P] as `probe` gives them.
        tried: As `transforms` gives them.
    """
    kinds = [UNCLEAR] * len(values)
    if not len(values):
        return kinds
    for cell in np.flatnonzero(_many_whole(values)).tolist():
        kinds[cell] = COUNTS
    left = np.flatnonzero(~whole_cells(values))
    if not len(left):
        return kinds
    for find in (_grid, _blurred_grid):
        for cell, kind in zip(left.tolist(), find(values[left], tried), strict=True):
            kinds[cell] = kind or UNCLEAR
        left = left[[kinds[cell] is UNCLEAR for cell in left.tolist()]]
    rest = values[left]
    different = (rest > (1 + _NEAR) * _smallest(rest)[:, None]).sum(axis=1)
    for cell in left[different >= _CLEAR_LEAST].tolist():
        kinds[cell] = OTHER
    return kinds


def _grid(values: Floats, tried: Sequence[CellKind]) -> list[CellKind | None]:
    """The transform after whose undoing each of B cells holds multiples, the nearest; or None."""
    kinds: list[CellKind | None] = [None] * len(values)
    # Some whole values fit other grids too, such as 1, 3, 7 that of log2: whole numbers go first.
    beside = (corrected_share(values, tried[0]) >= _CORRECTED_SHARE) & _partly_whole(values)
    beside |= _mostly_whole(values)
    for divisor in (1, 2, 3, 4):
        best = np.full(len(values), np.inf)
        open_cells = np.array([kind is None for kind in kinds], dtype=bool)
        if not open_cells.any():
            break
        for kind in tried:
            undone = undo(values, kind)
            possible = open_cells & ~(np.isnan(undone) & ~np.isnan(values)).any(axis=1)
            if kind != tried[0]:
                possible &= ~beside
            fits, off = multiples(undone, divisor)
            for cell in np.flatnonzero(fits & possible & (off < best)).tolist():
                kinds[cell], best[cell] = kind, off[cell]
    return kinds


def _blurred_grid(values: Floats, tried: Sequence[CellKind]) -> list[CellKind | None]:
    """The transform after whose undoing each of B cells lies nearest to multiples; or None."""
    kinds: list[CellKind | None] = [None] * len(values)
    nearest = np.full(len(values), _CORRECTED_SHARE)
    for cell in np.flatnonzero(_mostly_whole(values)).tolist():
        kinds[cell], nearest[cell] = CellKind(fit="corrected"), 1
    for kind in tried:
        if kind.transform not in ("none", "log"):
            continue
        share = corrected_share(values, kind)
        for cell in np.flatnonzero(share > nearest).tolist():
            kinds[cell] = CellKind(transform=kind.transform, base=kind.base, fit="corrected")
            nearest[cell] = share[cell]
    return kinds


def fits_kind(values: Floats, kind: CellKind) -> Bools:
    """[B] whether each cell is surely of a kind; `classify` says what the others are.

    Args:
        values: [B, P] as `probe` gives them.
        kind: Counts, or multiples of one number with a transform.
    """
    whole = whole_cells(values)
    if kind.fit == "whole":
        return whole
    undone = undo(values, kind)
    fits, _ = multiples(undone)
    fits &= ~(np.isnan(undone) & ~np.isnan(values)).any(axis=1)
    if kind.transform != "none":
        fits &= ~_surely_counts(values)
    return np.asarray(fits)


def corrected_share(values: Floats, kind: CellKind) -> Floats:
    """[B] how many of the small values lie near to one or two times a unit.

    The unit is what most values are: their 30th percentile. Ones and twos are looked at apart, as
    most values are ones, whatever was done to them.

    Args:
        values: [B, P] as `probe` gives them.
        kind: The transform to undo.
    """
    values, own_unit = undo(values, kind), kind.transform == "none"  # 1 itself may be the unit
    ordered = np.sort(values, axis=1)  # NaN last
    place = (0.3 * np.maximum(_number(values) - 1, 0)).astype(np.int64)
    best = np.zeros(len(values))
    for unit in (ordered[np.arange(len(values)), place], *([np.ones(len(values))] * own_unit)):
        ratio = values / unit[:, None]
        shares = []
        for multiple, low, high in ((1, 0.5, 1.35), (2, 1.35, 2.65)):
            around = (ratio >= low) & (ratio < high)
            near = around & (np.abs(ratio - multiple) <= _CORRECTED_NEAR)
            number = around.sum(axis=1)
            enough = number >= _CORRECTED_LEAST
            shares.append(np.where(enough, near.sum(axis=1) / np.maximum(number, 1), 0))
        best = np.maximum(best, np.minimum(*shares))
    return best


def whole_share(values: Floats) -> Floats:
    """[B] share of whole numbers among the values of each cell.

    Args:
        values: [B, P] as `probe` gives them.
    """
    near = np.abs(values - np.maximum(np.rint(values), 1)) <= WHOLE_TOLERANCE
    return np.asarray(near.sum(axis=1) / np.maximum(_number(values), 1))


def tested_values(values: Floats, kind: CellKind) -> NDArray[np.int64]:
    """[B] how many values are small enough multiples of the smallest to be tested.

    Args:
        values: [B, P] as `probe` gives them.
        kind: The transform to undo.
    """
    undone = undo(values, kind)
    ratio = undone / _smallest(undone)[:, None]
    return np.asarray(((ratio > 1 + _NEAR) & (ratio <= _RATIO_MAX)).sum(axis=1))


def is_rounded(values: Floats) -> bool:
    """Whether values were rounded to three decimals or fewer, which blurs the grid.

    Args:
        values: [B, P] as `probe` gives them.
    """
    thousandths = values[~np.isnan(values)] * 1000
    return bool((np.abs(thousandths - np.rint(thousandths)) <= 1e-6 * thousandths + 1e-4).all())


def _many_whole(values: Floats) -> Bools:
    """[B] which cells hold many whole numbers above 1, and of several sizes."""
    above = values > 1 + WHOLE_TOLERANCE
    sizes = np.where(above, values, -np.inf).max(axis=1) > np.where(above, values, np.inf).min(
        axis=1
    )
    return np.asarray(whole_cells(values) & sizes & (above.sum(axis=1) >= _COUNTED_LEAST))


def _surely_counts(values: Floats) -> Bools:
    """[B] whether whole numbers are no logarithms to base 2, of which some are whole too."""
    begins = np.fmin.reduce(values, axis=1) < 1.5
    return np.asarray(_many_whole(values) & (begins | (np.fmax.reduce(values, axis=1) > _LOG2_MAX)))


def _partly_whole(values: Floats) -> Bools:
    """[B] whether many values are whole, as of counts of which some were shared or corrected."""
    return np.asarray(whole_share(values) >= _PARTLY)


def _mostly_whole(values: Floats) -> Bools:
    """[B] whether most values above 1 are whole: counts, some of which were divided among genes."""
    above = values > 1.5
    near = above & (np.abs(values - np.rint(values)) <= WHOLE_TOLERANCE)
    number = above.sum(axis=1)
    return np.asarray(
        (number >= _CORRECTED_LEAST) & (near.sum(axis=1) >= _CORRECTED_SHARE * number)
    )


def _number(values: Floats) -> NDArray[np.int64]:
    return np.asarray((~np.isnan(values)).sum(axis=1))


def _smallest(values: Floats) -> Floats:
    """[B] the mean of the values next to the smallest: what one molecule became."""
    lowest = np.fmin.reduce(values, axis=1)
    near = values <= 1.3 * lowest[:, None]
    total = np.where(near, values, 0).sum(axis=1)
    return np.asarray(total / np.maximum(near.sum(axis=1), 1)) + np.where(near.any(axis=1), 0, 1)
