"""Which matrix of a file holds the counts.

One decision: each matrix is judged by its values (`values/judge.py`), never by its name. Counts go
before logarithms, whatever the place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.count_maps import LOCATION
from c2t.runtime.cells.formats.names_table import NamesTable
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.options import Values
from c2t.runtime.cells.sparse_rows import RowMatrix, SparseRows, concatenate_rows
from c2t.runtime.cells.values.cell_check import CellCheck, absent_columns, drop_absent
from c2t.runtime.cells.values.judge import WORDS, Finding, Kind, judge
from c2t.runtime.system.errors import CellFileError

PREFERRED = ("layers/counts", "raw", "X", LOCATION)
_SAMPLE_CELLS, _SAMPLE_PORTIONS, _SAMPLE_ENTRIES = 512, 16, 1 << 23
_WIDER = 2  # times as many genes: the others hold a choice of them
_KEEP_ORDER: tuple[Kind, ...] = ("counts", "log1p")  # of a cell's genes, which is all that matters
_EMPTY_SHARE = 0.1  # of the cells looked at: with more, another matrix may hold them


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


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenMatrix:
    """The matrix that is taken.

    Args:
        matrix: Its cells.
        sample: Some of them, without the values that are missing by design.
        report: Which it is, and why.
        check: Checks each of its cells as it is read.
    """

    matrix: RowMatrix
    sample: SparseRows
    report: CountsReport
    check: CellCheck


@dataclass(frozen=True, eq=False)
class _Seen:
    """A matrix that was looked at; `absent` says which columns lack values in some cells."""

    matrix: RowMatrix
    sample: SparseRows
    absent: NDArray[np.bool_]
    finding: Finding


def choose_counts(
    store: CellStore, *, layer: str | None = None, values: Values = "auto"
) -> ChosenMatrix:
    """Find the matrix to take.

    Args:
        store: The cells.
        layer: Take this one: "X", "raw", "layers/NAME" or NAME.
        values: Take the values as this, whatever they look like.

    Raises:
        CellFileError: No matrix holds counts; says what each holds.
    """
    locations = (
        [_location(store, layer)] if layer else [s for s in PREFERRED if s in store.locations]
    )
    seen: dict[str, _Seen] = {}
    stated = store.log_base()
    for location in locations:
        matrix = _open(store, location, named=layer is not None)
        sample = sample_rows(matrix)
        absent = absent_columns(sample)
        sample = drop_absent(sample, absent)
        finding = judge(sample, stated_base=stated, silent_genes=store.silent_genes)
        seen[location] = _Seen(matrix, sample, absent, finding)
        counts = finding.kind == "counts" and values == "auto"
        if counts and (layer or not _raw_is_wider(store, seen)):
            break
    findings = {location: one.finding for location, one in seen.items()}
    wanted: list[tuple[Kind, ...]] = [("counts",), ("corrected",), ("log1p",), ("proportional",)]
    raw = findings.get("raw")
    if values == "auto" and raw and raw.kind in _KEEP_ORDER and _raw_is_wider(store, seen):
        seen = {"raw": seen["raw"]}
    nothing = all(finding.kind == "nothing" for finding in findings.values())
    if nothing and (layer or set(seen) == set(store.locations)):
        wanted = [("nothing",)]  # each cell gets an error of its own: it is empty, or holds NaN
    if values != "auto":
        order: tuple[Kind, ...] = ("counts", "corrected", "log1p", "proportional", "normalized")
        wanted = [order, ("scaled", "nothing")]
    for kinds in wanted:
        for location, one in seen.items():
            if one.finding.kind in kinds:
                report = _report(location, findings, values, stated)
                check = CellCheck(
                    one.finding,
                    one.sample,
                    one.absent,
                    judged=values == "auto",
                    silent_genes=store.silent_genes,
                )
                doubts = [check.warning(one.sample), *_gaps(store, location, one)]
                report = replace(
                    report, warnings=(*report.warnings, *(doubt for doubt in doubts if doubt))
                )
                return ChosenMatrix(
                    matrix=one.matrix, sample=one.sample, report=report, check=check
                )
    raise _no_counts(store, findings)


def _raw_is_wider(store: CellStore, seen: dict[str, _Seen]) -> bool:
    """Whether `raw` has so many more genes than what was seen that those are a choice of them.

    That is how scanpy leaves an object: the variable genes in X and layers, all genes in `raw`.
    With 500 of 13,714 genes, half of the cells of pbmc3k were described as another type.
    """
    others = [one.matrix.shape[1] for location, one in seen.items() if location != "raw"]
    if not others or "raw" not in store.locations:
        return False
    try:
        matrix = seen["raw"].matrix if "raw" in seen else store.matrix("raw")
    except CellFileError:  # a damaged one is no reason to refuse another
        return False
    return matrix.shape[1] >= _WIDER * max(others)


def _open(store: CellStore, location: str, *, named: bool) -> RowMatrix:
    """Open a matrix that was not asked for by name; where it is damaged, name the others."""
    try:
        return store.matrix(location)
    except CellFileError as error:
        others = [other for other in store.locations if other != location]
        if named or not others:
            raise
        hint = f"{error.hint}, or take another matrix: `--layer {others[-1]}`"
        if len(others) > 1:
            hint += f" (there are {', '.join(others)})"
        raise CellFileError(error.problem, hint=hint) from error


def _gaps(store: CellStore, location: str, seen: _Seen) -> list[str]:
    """Say which genes or cells have no values."""
    warnings = []
    genes = int(seen.absent.sum())
    if genes:
        warnings.append(
            f"{genes:,} genes of {location} are missing (NaN) in some or all cells, as after an "
            "outer join: they are taken as absent there"
        )
    others = [other for other in store.locations if other != location]
    if not others:
        return warnings
    positive = np.concatenate(([0], np.cumsum(seen.sample.data > 0)))
    empty = int((positive[seen.sample.indptr[1:]] == positive[seen.sample.indptr[:-1]]).sum())
    if 0 < empty < seen.sample.shape[0] and empty > _EMPTY_SHARE * seen.sample.shape[0]:
        warnings.append(
            f"{empty:,} of {seen.sample.shape[0]:,} cells looked at are empty in {location}; other "
            f"matrices (`--layer NAME`): {', '.join(others)}"
        )
    return warnings


def _location(store: CellStore, layer: str) -> str:
    for name in (layer, f"layers/{layer}", layer.replace("raw.X", "raw").replace("raw/X", "raw")):
        if name in store.locations:
            return name
    problem = f"{store.name} has no matrix `{layer}`"
    raise CellFileError(problem, hint=f"it has: {', '.join(store.locations) or 'none'}")


def _report(
    location: str, findings: dict[str, Finding], values: Values, stated: float | None
) -> CountsReport:
    finding = findings[location]
    kind, base, warnings = finding.kind, finding.log_base, [finding.warning]
    if kind == "nothing":
        warnings = [f"{location} holds nothing but zeros and NaN in the cells looked at"]
    if values != "auto":
        kind = values
        base = (finding.log_base or stated or float(np.e)) if values == "log1p" else None
        alike = {"proportional": ("normalized",), "corrected": ("counts", "normalized")}
        doubt = f"{location} is taken as {WORDS[kind]}, but looks like {finding.description}"
        warnings = ["" if kind in alike.get(finding.kind, (finding.kind,)) else doubt]
    named = findings.get("layers/counts")
    if (
        named is not None
        and location != "layers/counts"
        and named.kind not in ("counts", "nothing")
    ):
        warnings.append(f"layers/counts holds {named.description}, in spite of its name")
    undone = ""
    if base is not None:
        undone = ", undone" if base == float(np.e) else f" (base {base:g}), undone"
    others = {place: other for place, other in findings.items() if place != location}
    # Counts are passed over for one reason only, unless the user says what values are.
    counts = {place for place, other in others.items() if other.kind == "counts"}
    narrow = counts if values == "auto" else set()
    rest = "".join(
        f"; {place} holds {other.description}{', of far fewer genes' * (place in narrow)}"
        for place, other in others.items()
    )
    return CountsReport(
        location=location,
        kind=kind,
        log_base=base,
        sentence=f"took `{location}`: {WORDS[kind]}{undone}{rest}",
        warnings=tuple(w for w in warnings if w),
    )


def _no_counts(store: CellStore, findings: dict[str, Finding]) -> CellFileError:
    """Say what each matrix holds, and what would help."""
    held = "; ".join(f"`{place}` holds {found.description}" for place, found in findings.items())
    problem = f"no counts found in {store.name}: {held or 'it has no matrix X, raw or counts'}"
    others: list[Any] = [location for location in store.locations if location not in findings]
    hints = [finding.hint for finding in findings.values() if finding.hint]
    if others:
        hint = f"if another matrix holds them, name it: `--layer {others[0]}`"
        if len(others) > 1:
            hint += f" (there are {', '.join(others)})"
    elif hints:
        hint = hints[0]
    elif isinstance(store.obs, NamesTable):  # text tables and matrices beside names: no layers
        hint = "write the raw counts, whole numbers of reads or molecules, and try again"
    else:
        hint = "write the raw counts into `layers['counts']` and try again"
    return CellFileError(problem, hint=f"{hint}; see `c2t help formats`")
