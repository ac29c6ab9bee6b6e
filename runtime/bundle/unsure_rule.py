"""`unsure.json` of a bundle: how likely a cell type is right, and below what it is called unsure.

One decision: the fit is stored as a polyline from confidence to probability, whatever method made
it. So run time knows no methods, and what it computes can be checked by eye. The file says what it
was fitted on and what came out on cells that were left out of the fit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import BundleError

UNSURE_NAME = "unsure.json"
RULE_VERSION = 1
POINTS_MAX = 1024
RULE_BYTES_MAX = 1 << 20
_HINT = "fit it again with `c2t evaluate --fit-unsure`, or copy the bundle again"


class FittedOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of labelled cells that a rule was fitted on.

    Args:
        file: Its name.
        sha256: Of the file.
        cells: How many of its cells were used.
        which: Which ones, in words; "" for all that have a label.
        label_column: Column of their cell types.
        label_map: SHA-256 of the label map; None without one.
    """

    file: str
    sha256: str
    cells: int
    label_column: str
    which: str = ""
    label_map: str | None = None


class UnsureRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle states about the cell types that it names.

    Args:
        version: Of this file's format.
        confidence: Corners of the polyline: `cell_type_confidence`, ascending.
        probability: Of being right at each corner, never descending.
        threshold: A cell with a lower probability is unsure; 0 if the target is met without.
        target: Share of right ones that the cells at or above the threshold should have.
        method: How the polyline was fitted.
        fitted_on: The labelled cells.
        cells: How many there were.
        right: Share of them whose cell type was right.
        answered: Share at or above the threshold, in cells that the fit had not seen.
        answered_right: Share of right ones among those, likewise.
        ece_before: Expected calibration error of the confidence itself.
        ece_after: That of the probability, in cells that the fit had not seen.
        generation: Settings that the texts were written with, those that change a text.
        bundle: Digest of the bundle that wrote them.
        c2t_version: Version that fitted it.
        date: UTC, ISO 8601.
    """

    version: int
    confidence: tuple[float, ...]
    probability: tuple[float, ...]
    threshold: float
    target: float
    method: str
    fitted_on: tuple[FittedOn, ...]
    cells: int
    right: float
    answered: float
    answered_right: float
    ece_before: float
    ece_after: float
    generation: dict[str, str]
    bundle: str
    c2t_version: str
    date: str

    def probability_of(self, confidence: float) -> float:
        """Probability that a cell type named with this confidence is right.

        Args:
            confidence: `cell_type_confidence`; beyond the first and last corner, theirs holds.
        """
        xs, ys = self.confidence, self.probability
        after = bisect_right(xs, confidence)
        if after == 0:
            return ys[0]
        if after == len(xs):
            return ys[-1]
        part = (confidence - xs[after - 1]) / (xs[after] - xs[after - 1])
        return ys[after - 1] + part * (ys[after] - ys[after - 1])


def read_rule(path: Path) -> UnsureRule:
    """Read and check an `unsure.json`.

    Raises:
        BundleError: It is missing, no such file, of a newer format, or contradicts itself.
    """
    what = "a rule for unsure cells"
    content = read_bounded(path, bytes_max=RULE_BYTES_MAX, error=BundleError, hint=_HINT, what=what)
    rule = decode_json(content, UnsureRule, name=path, error=BundleError, hint=_HINT, what=what)
    problems = list(_problems(rule))
    if problems:
        problem = f"{path} cannot be right: {'; '.join(problems)}"
        raise BundleError(problem, hint=_HINT)
    return rule


def _problems(rule: UnsureRule) -> Iterator[str]:
    xs, ys = rule.confidence, rule.probability
    if rule.version != RULE_VERSION:
        yield f"version is {rule.version}; this c2t reads {RULE_VERSION}"
    if len(xs) != len(ys) or not 1 <= len(xs) <= POINTS_MAX:
        yield f"{len(xs)} confidences and {len(ys)} probabilities"
    for name in ("threshold", "target", "right", "answered", "answered_right"):
        value = getattr(rule, name)
        if not 0 <= value <= 1:  # NaN too
            yield f"{name} is {value}"
    if not all(math.isfinite(x) and 0 <= x <= 1 for x in (*xs, *ys)):
        yield "a confidence or probability is not between 0 and 1"
    if any(a >= b for a, b in pairwise(xs)) or any(a > b for a, b in pairwise(ys)):
        yield "confidences do not ascend, or probabilities descend"
