"""Checks each cell as it is read: whether it is like the others, and which genes it lacks.

One decision: a file's verdict comes from a sample, so no cell is trusted because of it. One that is
not of the file's kind gets an error that says what it looks like.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.cells.values.cell_kinds import (
    FIRST_PROBES,
    UNCLEAR,
    CellKind,
    Floats,
    classify,
    corrected_share,
    fits_kind,
    is_rounded,
    probe,
    tested_values,
    transforms,
    whole_cells,
    whole_share,
)
from c2t.runtime.cells.values.judge import Finding, alike
from c2t.runtime.cells.values.whole_values import filled_up, median, round_total

# A cell with values for nearly all genes, where others have few, was imputed or had a number added.
_FULL, _FULL_COLUMNS = 0.95, 1000
_TOTAL_TOLERANCE = 0.02
# In a file whose grid is blurred: cells with fewer values, or as near to it, may be its own.
_BLURRED_LEAST, _NEAR_SHARE = 40, 0.4
_WHOLE_SHARE, _TESTED_LEAST = 0.85, 10
_TEXTS_MAX = 3
# In cells of counts the largest value is 1.5 to 10 % of the total, in rounded logarithms below
# 0.5 %, and at most log2 of a million.
_USUAL_PEAK, _ODD_PEAK, _LOW_PEAK, _PEAK_GENES = 0.012, 0.006, 20.0, 200


class CellCheck:
    """What the cells of one matrix must be.

    Args:
        finding: What the sample of them is.
        sample: That sample.
        absent: [columns] which genes are missing (NaN) in some cells by design.
        judged: Whether cells are compared with the finding; the user may know better.
        silent_genes: Whether genes that no cell has have a column too.
    """

    @np.errstate(all="ignore")  # see `errors`
    def __init__(
        self,
        finding: Finding,
        sample: SparseRows,
        absent: NDArray[np.bool_],
        *,
        judged: bool,
        silent_genes: bool = True,
    ) -> None:
        self._kind = finding.cell if judged else None
        self._finding, self._absent, self._silent_genes = finding, absent, silent_genes
        fit = self._kind.fit if self._kind is not None else ""
        self._blurred = fit == "corrected" or (fit == "multiples" and is_rounded(probe(sample)))
        self._any_absent = bool(absent.any())
        totals = _totals(sample)
        sums = np.array([round_total(total) or 0.0 for total in totals.tolist()])
        self._round_totals = fit == "whole" and (sums > 0).sum() > max(1, 0.01 * len(sums))
        self._peaks = fit == "whole" and _typical_peak(sample, totals) >= _USUAL_PEAK
        lengths = sample.lengths
        typical = median(lengths) if len(lengths) else 0.0
        self._seen: tuple[SparseRows, dict[int, str]] | None = None
        self._sparse = sample.columns >= _FULL_COLUMNS and typical < 0.6 * sample.columns

    def without_absent(self, rows: SparseRows) -> SparseRows:
        """The rows without NaN in genes that are missing in some cells by design."""
        return drop_absent(rows, self._absent) if self._any_absent else rows

    def warning(self, sample: SparseRows) -> str:
        """Say how many cells of the sample are not like the others, or ""."""
        self._seen = sample, self.errors(sample)
        texts = Counter(self._seen[1].values()).most_common(_TEXTS_MAX)
        if not texts:
            return ""
        shown = "; ".join(f"{number:,} of {sample.shape[0]:,}: {text}" for text, number in texts)
        return f"cells of different kinds, of which the odd ones get an error: {shown}"

    @np.errstate(all="ignore")  # values of a damaged file may be of any size
    def errors(self, rows: SparseRows) -> dict[int, str]:
        """What the cells look like that are not like the others, by their place in `rows`."""
        if self._kind is None or not rows.shape[0]:
            return {}
        if self._seen is not None and self._seen[0] is rows:  # a few cells are their own sample
            return self._seen[1]
        first = probe(rows, FIRST_PROBES)
        unsure = ~fits_kind(first, self._kind)
        if self._kind.transform != "none":
            unsure |= whole_cells(first)  # which may be logarithms to base 2: look at more values
        doubtful = np.flatnonzero(unsure)
        errors = {}
        if len(doubtful):
            values = probe(rows.take(doubtful))
            wrong = ~fits_kind(values, self._kind)
            doubtful, values = doubtful[wrong], values[wrong]
            kinds = classify(values, transforms(self._kind.base))
            if self._kind.fit != "whole":  # a cell of few small values says nothing
                few = tested_values(values, self._kind) < _TESTED_LEAST
                kinds = [
                    UNCLEAR if f and kind.fit == "none" else kind
                    for f, kind in zip(few.tolist(), kinds, strict=True)
                ]
            near = corrected_share(values, self._kind)
            near[(~np.isnan(values)).sum(axis=1) < _BLURRED_LEAST] = 1  # too few to say
            if self._kind.fit == "whole":
                near = whole_share(values)
            for cell, kind, share in zip(doubtful.tolist(), kinds, near.tolist(), strict=True):
                if not self._tolerated(kind, share):
                    errors[cell] = self._sentence(kind.words)
        if self._round_totals:
            errors = {**self._rounded_tpm(rows, first), **errors}
        if self._peaks:
            errors = {**self._rounded_logarithms(rows, first), **errors}
        if self._finding.total is not None:
            errors.update(self._other_totals(rows, first))
        return {**errors, **self._full_cells(rows)}

    def _tolerated(self, kind: CellKind, near: float) -> bool:
        """Whether a cell may stay that is not surely of the file's kind.

        Args:
            kind: What it looks like.
            near: Share of its values that lie near to multiples if it is of the file's kind; in
                counts, share of whole numbers.
        """
        assert self._kind is not None
        if self._kind.fit == "whole" and kind.fit == "corrected" and near >= _WHOLE_SHARE:
            return True  # EM divides a few reads between genes, in some cells more than in others
        if self._blurred and kind.fit in ("corrected", "none"):
            return True  # the file as a whole is warned about
        if self._blurred and kind.fit == "multiples" and near >= _NEAR_SHARE:
            return True
        return alike(kind, self._kind)

    def _full_cells(self, rows: SparseRows) -> dict[int, str]:
        lengths = rows.lengths
        if not self._sparse or (lengths < _FULL * rows.columns).all():
            return {}
        words = "values for every gene (imputed, or a number was added to each)"
        full = [
            cell
            for cell in np.flatnonzero(lengths >= _FULL * rows.columns).tolist()
            if self._is_full(rows.data[rows.indptr[cell] : rows.indptr[cell + 1]], rows.columns)
        ]
        return dict.fromkeys(full, self._sentence(words))

    def _is_full(self, values: NDArray[Any], columns: int) -> bool:
        number = int(np.count_nonzero(values))
        if number < _FULL * columns:
            return False
        # Where columns are what the cells have, one cell may have most of them.
        lowest = float(values.min())
        return self._silent_genes or filled_up(number, float((values == lowest).mean()))

    def _rounded_logarithms(self, rows: SparseRows, first: Floats) -> dict[int, str]:
        """Cells of whole numbers without any large one, among cells that have such."""
        low = np.fmax.reduce(first, axis=1) <= _LOW_PEAK
        low &= rows.lengths >= _PEAK_GENES
        errors = {}
        for cell in np.flatnonzero(low).tolist():
            values = rows.data[rows.indptr[cell] : rows.indptr[cell + 1]]
            most, total = float(values.max()), float(np.sum(values, dtype=np.float64))
            if most <= _LOW_PEAK and most < _ODD_PEAK * total:
                errors[cell] = self._sentence("rounded logarithms")
        return errors

    def _rounded_tpm(self, rows: SparseRows, first: Floats) -> dict[int, str]:
        """Cells of whole numbers with a total that is a power of ten, and few ones."""
        ones = (first == 1).sum(axis=1) < 0.25 * (~np.isnan(first)).sum(axis=1)
        words = "values scaled to a total and rounded (such as TPM)"
        totals = _totals(rows).tolist()
        return {
            cell: self._sentence(words)
            for cell in np.flatnonzero(ones).tolist()
            if round_total(totals[cell]) is not None
        }

    def _other_totals(self, rows: SparseRows, values: NDArray[np.float64]) -> dict[int, str]:
        """Raw counts among cells that were scaled to the same total."""
        whole = fits_kind(values, CellKind(fit="whole")) & ~np.isnan(values).all(axis=1)
        errors, total = {}, self._finding.total or 0.0
        for cell in np.flatnonzero(whole).tolist():
            own = float(np.sum(rows.data[rows.indptr[cell] : rows.indptr[cell + 1]], dtype=float))
            if abs(own - total) > _TOTAL_TOLERANCE * total:
                errors[cell] = self._sentence("raw counts")
        return errors

    def _sentence(self, words: str) -> str:
        assert self._kind is not None
        return f"cell looks like {words}, but the others hold {self._kind.words}"


def _finite(rows: SparseRows) -> Floats:
    """[N] the values, with 0 for those that are not finite."""
    values = np.asarray(rows.data, dtype=np.float64)
    if np.isfinite(values).all():
        return values
    return np.asarray(np.nan_to_num(values, posinf=0, neginf=0))


def _totals(rows: SparseRows) -> Floats:
    """[B] sums of the finite values of each cell."""
    totals = np.bincount(rows.row_index(), weights=_finite(rows), minlength=rows.shape[0])
    return totals.astype(np.float64)


def _typical_peak(sample: SparseRows, totals: Floats) -> float:
    """The largest value of a cell over its total, the median of the cells; 0 without values."""
    peaks = np.zeros(sample.shape[0])
    filled = sample.lengths > 0
    if filled.any():
        highest = np.maximum.reduceat(_finite(sample), sample.indptr[:-1][filled])
        peaks[filled] = np.maximum(highest, 0)
    some = totals > 0
    return median(peaks[some] / totals[some]) if some.any() else 0.0


def absent_columns(sample: SparseRows) -> NDArray[np.bool_]:
    """[columns] which genes are missing (NaN) in some cells by design.

    Joining data sets with different genes fills with NaN, alike in all cells of a data set. Other
    NaN come from damage, and are errors of their cells. So the same genes must be NaN in two cells.
    """
    absent = np.zeros(sample.columns, dtype=bool)
    if sample.data.dtype.kind != "f":
        return absent
    missing = np.flatnonzero(np.isnan(sample.data))
    if not len(missing):
        return absent
    row, column = sample.row_index()[missing], sample.indices[missing]
    cells, stored = sample.shape[0], sample.lengths
    number = np.bincount(row, minlength=cells)
    # A number for each set of genes: sums of random weights, of which no two sets have the same.
    weight = np.random.default_rng(0).random(sample.columns)
    mark = np.bincount(row, weights=weight[column], minlength=cells)
    mark[(number == 0) | (number == stored)] = np.nan  # a cell of nothing but NaN says nothing
    known, times = np.unique(np.round(mark[~np.isnan(mark)], 6), return_counts=True)
    shared = np.isin(np.round(mark, 6), known[times > 1])
    absent[column[shared[row]]] = True
    return absent


def drop_absent(rows: SparseRows, absent: NDArray[np.bool_]) -> SparseRows:
    """The rows without NaN in these columns; a cell of nothing but NaN keeps them."""
    if rows.data.dtype.kind != "f":
        return rows
    missing = np.isnan(rows.data)
    if not missing.any():
        return rows
    row = rows.row_index()
    kept = np.bincount(row[~missing], minlength=rows.shape[0]) > 0
    drop = missing & absent[rows.indices] & kept[row]
    return rows.without(drop, {})
