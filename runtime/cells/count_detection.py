"""Which matrix of a file holds the counts, and what was done to them.

One decision: values are judged by themselves, never by a name in the file. Only the order of genes
within a cell matters. So a factor for each cell does no harm, and a logarithm can be undone. Values
that were scaled gene by gene (z-scores, TPM) have lost the order and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.store import CellStore
from c2t.runtime.cells.options import Values
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, concatenate_rows
from c2t.runtime.system.errors import CellFileError

# Counts; their log1p; counts times a factor for each cell; other positive values; z-scores; none.
Kind = Literal["counts", "log1p", "proportional", "normalized", "scaled", "nothing"]

PREFERRED = ("layers/counts", "raw", "X")
WHOLE_TOLERANCE = 1e-3
LOG_MAX = 15.0  # ln(1 + 3.3 million): no cell has a gene of that share of 10,000 or a million
_SAMPLE_CELLS, _SAMPLE_PORTIONS, _SAMPLE_ENTRIES = 512, 16, 1 << 23

_WORDS: dict[Kind, str] = {
    "counts": "raw counts",
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
    """

    kind: Kind
    log_base: float | None = None
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class CountsReport:
    """Which matrix was taken, and why.

    Args:
        location: "X", "raw" or "layers/NAME".
        kind: What its values are, or what the user says they are.
        log_base: Base of the logarithm to undo; None where none was taken.
        sentence: All this in words.
        warnings: What is doubtful about it.
    """

    location: str
    kind: Kind
    log_base: float | None
    sentence: str
    warnings: tuple[str, ...]


def sample_rows(matrix: RowMatrix) -> SparseRows:
    """Read some cells, at most 512, in portions spread evenly over the matrix."""
    cells, columns = matrix.shape
    wanted = min(cells, _SAMPLE_CELLS, max(64, _SAMPLE_ENTRIES // max(columns, 1)))
    length = max(1, wanted // _SAMPLE_PORTIONS)
    if cells <= wanted:
        starts, length = [0], cells
    else:
        spread = np.linspace(0, cells - length, _SAMPLE_PORTIONS).astype(int)
        starts = np.unique(spread // length * length).tolist()
    parts = [matrix.rows(start, min(start + length, cells)) for start in starts]
    return concatenate_rows(parts, columns)


def judge(sample: SparseRows, *, stated_base: float | None = None) -> Finding:
    """Say what the values of a matrix are.

    Args:
        sample: Some of its cells.
        stated_base: Base of a logarithm that the file says was applied.
    """
    row, values = sample.row_index(), np.asarray(sample.data, dtype=np.float64)
    cells = sample.shape[0]
    filled = np.bincount(row[values != 0], minlength=cells) > 0
    negative = np.bincount(row[values < 0], minlength=cells) > 0
    # Negative values in some cells are errors of those cells; in most, the matrix is scaled.
    if negative.sum() * 2 > filled.sum():
        return Finding(kind="scaled")
    bad = np.bincount(row[~np.isfinite(values) | (values < 0)], minlength=cells) > 0
    use = (values > 0) & ~bad[row]
    row, values = row[use], values[use]
    if not len(values):
        return Finding(kind="nothing")

    whole = np.abs(values - np.rint(values)) <= WHOLE_TOLERANCE
    odd_cells = len(np.unique(row[~whole]))
    if odd_cells <= 0.05 * len(np.unique(row)):
        return _judge_whole(values, row)
    for base in _bases(stated_base):
        if values.max() * np.log(base) <= LOG_MAX and _multiples(_undo(values, base), row):
            return Finding(kind="log1p", log_base=base)
    if _multiples(values, row):
        return Finding(kind="proportional")
    base = stated_base or float(np.e)
    if values.max() * np.log(base) <= LOG_MAX and (
        stated_base or _spread(_totals(_undo(values, base), row)) < 0.1
    ):
        doubt = "log1p values that are no whole multiples once undone (corrected, imputed, or "
        doubt += "normalised by gene length): the order of genes may differ from that of counts"
        return Finding(kind="log1p", log_base=base, warning=doubt)
    return Finding(kind="normalized")


def choose_counts(
    store: CellStore, *, layer: str | None = None, values: Values = "auto"
) -> tuple[RowMatrix, SparseRows, CountsReport]:
    """Find the matrix to take.

    Args:
        store: The cells.
        layer: Take this one: "X", "raw", "layers/NAME" or NAME.
        values: Take the values as this, whatever they look like.

    Returns:
        The matrix, a sample of its cells, and the report.

    Raises:
        CellFileError: No matrix holds counts; says what each holds.
    """
    locations = (
        [_location(store, layer)] if layer else [s for s in PREFERRED if s in store.locations]
    )
    seen: dict[str, tuple[RowMatrix, SparseRows, Finding]] = {}
    stated = store.log_base()
    for location in locations:
        matrix = store.matrix(location)
        sample = sample_rows(matrix)
        seen[location] = matrix, sample, judge(sample, stated_base=stated)
        if seen[location][2].kind == "counts" and values == "auto":
            break
    wanted: list[tuple[Kind, ...]] = [("counts",), ("log1p",), ("proportional",)]
    if all(finding.kind == "nothing" for _, _, finding in seen.values()):
        wanted = [("nothing",)]  # each cell gets an error of its own: it is empty, or holds NaN
    if values != "auto":
        wanted = [("counts", "log1p", "proportional", "normalized"), ("scaled", "nothing")]
    for kinds in wanted:
        for location, (matrix, sample, finding) in seen.items():
            if finding.kind in kinds:
                others = {name: f for name, (_, _, f) in seen.items() if name != location}
                return matrix, sample, _report(location, finding, others, values, stated)
    raise _no_counts(store, {location: finding for location, (_, _, finding) in seen.items()})


def _bases(stated: float | None) -> list[float]:
    return [stated] if stated else [float(np.e), 2.0, 10.0]


def _undo(values: NDArray[np.float64], base: float) -> NDArray[np.float64]:
    return np.asarray(np.expm1(values * np.log(base)))


def _judge_whole(values: NDArray[np.float64], row: NDArray[np.int64]) -> Finding:
    """Tell counts from TPM-like values that were rounded to whole numbers.

    Counts: the totals of cells differ several-fold, and about half of a cell's genes are counted
    once. Rounded TPM: each cell has nearly the same, large total, and few genes with the value 1.
    """
    totals = _totals(values, row)
    ones = np.bincount(row[values == 1], minlength=int(row.max()) + 1)
    genes = np.bincount(row)
    share = np.median(ones[genes > 0] / genes[genes > 0])
    # The span of 80 % of the totals: 0.28 in TPM-like data, 0.85 and more in real counts.
    if len(totals) >= 10 and _spread(totals) < 0.4 and np.median(totals) > 1e4 and share < 0.25:
        return Finding(kind="normalized")
    warning = ""
    if values.max() == 1:
        warning = "all values are 0 or 1: the order of genes is that of their medians alone"
    return Finding(kind="counts", warning=warning)


def _totals(values: NDArray[np.float64], row: NDArray[np.int64]) -> NDArray[np.float64]:
    totals: NDArray[np.float64] = np.bincount(row, weights=values).astype(np.float64)
    return totals[totals > 0]


def _spread(totals: NDArray[np.float64]) -> float:
    """Width of the middle 80 % of the totals over their median; infinite for under 10 cells."""
    if len(totals) < 10:
        return float("inf")
    low, middle, high = np.percentile(totals, [10, 50, 90])
    return float((high - low) / middle)


def _multiples(values: NDArray[np.float64], row: NDArray[np.int64]) -> bool:
    """Whether the values of each cell are whole multiples of its smallest: counts times a factor.

    The smallest value of a cell is nearly always one molecule. Only multiples up to 20 are tested:
    rounding blurs larger ones. A value that is no multiple passes the test 1 time in 25.
    """
    begin = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    unit = np.repeat(np.minimum.reduceat(values, begin), np.diff(np.r_[begin, len(row)]))
    ratio = values / unit
    near = np.abs(ratio - np.rint(ratio)) <= 0.02
    small = ratio <= 20
    tested = np.add.reduceat(small.astype(np.int64), begin) - 1  # without the smallest itself
    passed = np.add.reduceat((small & near).astype(np.int64), begin) - 1
    enough = tested >= 3
    if not enough.any():
        return False
    return bool((passed[enough] >= 0.9 * tested[enough]).mean() >= 0.8)


def _location(store: CellStore, layer: str) -> str:
    for name in (layer, f"layers/{layer}", layer.replace("raw.X", "raw").replace("raw/X", "raw")):
        if name in store.locations:
            return name
    problem = f"{store.name} has no matrix `{layer}`"
    raise CellFileError(problem, hint=f"it has: {', '.join(store.locations) or 'none'}")


def _report(
    location: str,
    finding: Finding,
    others: dict[str, Finding],
    values: Values,
    stated: float | None,
) -> CountsReport:
    kind, base, warnings = finding.kind, finding.log_base, [finding.warning]
    if kind == "nothing":
        warnings = [f"{location} holds nothing but zeros and NaN in the cells looked at"]
    if values != "auto":
        kind = values
        base = (finding.log_base or stated or float(np.e)) if values == "log1p" else None
        looks = finding.kind if finding.kind != "proportional" else "normalized"
        doubt = f"{location} is taken as {_WORDS[kind]}, but looks like {_WORDS[finding.kind]}"
        warnings = [doubt if looks != kind else ""]
    undone = ""
    if base is not None:
        undone = ", undone" if base == float(np.e) else f" (base {base:g}), undone"
    rest = "".join(f"; {s} holds {_WORDS[f.kind]}" for s, f in others.items())
    return CountsReport(
        location=location,
        kind=kind,
        log_base=base,
        sentence=f"took `{location}`: {_WORDS[kind]}{undone}{rest}",
        warnings=tuple(w for w in warnings if w),
    )


def _no_counts(store: CellStore, seen: dict[str, Finding]) -> CellFileError:
    """Say what each matrix holds, and what would help."""
    held = "; ".join(
        f"`{location}` holds {_WORDS[finding.kind]}" for location, finding in seen.items()
    )
    problem = f"no counts found in {store.name}: {held or 'it has no matrix X, raw or counts'}"
    others: list[Any] = [location for location in store.locations if location not in seen]
    if others:
        hint = f"if another matrix holds them, name it: `--layer {others[0]}`"
        if len(others) > 1:
            hint += f" (there are {', '.join(others)})"
    elif any(finding.kind == "normalized" for finding in seen.values()):
        hint = "use the raw counts of these cells; to go on with the order of these values, pass "
        hint += "`--counts-are normalized`"
    else:
        hint = "write the raw counts into `layers['counts']` and try again"
    return CellFileError(problem, hint=hint)
