"""A temperature, fitted on labelled cells, that makes the probabilities of labels true shares.

Two decisions. One number only: it never changes which label is the most probable, and a few dozen
cells are enough for it (biases for each label fitted as well, and cost pbmc3k 1 to 5 points of
macro accuracy). And the figures are those of cells that the temperature was not fitted on: the
cells are divided into five, and each fifth is judged by a temperature of the others.

Sources: Guo et al., 2017 (temperature scaling; expected calibration error, ECE, of 15 bins).
Platt, 1999 (targets that are not quite certain, so that a fit on separable cells has an end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.labelled_cell import Float64, among_labels
from c2t.runtime.system.checked_read import json_bytes, read_json
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.files import atomic_file

CELLS_MIN = 30
FOLDS = 5
BINS = 15
HOTTEST = 100.0  # and its inverse the coldest
NEAR_BOUND = 1.01  # a search that ends so near to one of the two has found no minimum
LEAST = -745.0  # log of the smallest positive double
FILE_BYTES_MAX = 4 << 20
VERSION = 1
_HINT = "fit one again with `c2t annotate --calibrate-on COLUMN --save-calibration FILE`"


class CalibrationFileError(C2TError):
    """A calibration that cannot be fitted, read, or used with these labels."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How good probabilities are.

    Attributes:
        ece: Expected calibration error, 0 to 1: how far confidence and accuracy are apart.
        loss: Mean negative log probability of the true label.
        reliability: For each bin that has cells: mean probability of the best label, share of
            cells where it is right, and cells.
    """

    ece: float
    loss: float
    reliability: list[tuple[float, float, int]]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of a calibration file.

    Args:
        version: Of this form.
        bundle: Name of the bundle.
        bundle_sha256: Its digest: another model needs another temperature.
        labels: The labels that were compared.
        temperature: What log probabilities are divided by.
        cells: Labelled cells that it was fitted on.
        accuracy: Share of them whose most probable label is right.
        macro_accuracy: The mean of that over the labels that cells have.
        before: Figures at a temperature of 1.
        after: Figures of cells that the temperature was not fitted on.
        source: The file of cells and the column.
    """

    version: int = VERSION
    bundle: str
    bundle_sha256: str
    labels: tuple[str, ...]
    temperature: float
    cells: int
    accuracy: float
    macro_accuracy: float
    before: Figures
    after: Figures
    source: str

    @property
    def sentence(self) -> str:
        """What was fitted, for people."""
        return (
            f"temperature {self.temperature:.3f}, fitted on {self.cells:,} labelled cells of "
            f"{self.source}: {self.accuracy:.1%} are right (macro {self.macro_accuracy:.1%}); "
            f"calibration error (ECE) {self.before.ece:.3f} without it, {self.after.ece:.3f} with "
            "it on cells that it was not fitted on"
        )


def fit_calibration(
    log_probabilities: Float64,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    *,
    bundle: Bundle,
    source: str,
) -> Calibration:
    """Fit a temperature.

    Args:
        log_probabilities: [B,N] of cells whose label is known.
        truth: [B] place of it.
        labels: The N labels.
        bundle: The bundle.
        source: Where the labels of the cells are from, for reports.

    Raises:
        CalibrationFileError: Too few cells, all of one kind, or no temperature fits them.
    """
    if len(truth) < CELLS_MIN:
        problem = f"{len(truth):,} cells of {source} have one of the labels"
        hint = f"at least {CELLS_MIN} are needed; name the file's labels with --label-map"
        raise CalibrationFileError(problem, hint=hint)
    if len(set(truth.tolist())) < 2:
        problem = f"all {len(truth):,} labelled cells of {source} are {labels[int(truth[0])]!r}"
        raise CalibrationFileError(problem, hint="fit on cells of several kinds")
    best = best_temperature(log_probabilities, truth)
    if not _is_usable(best):
        problem = f"no temperature fits the {len(truth):,} labelled cells of {source}"
        hint = "their labels are not what the model says; compare them without --calibrate-on"
        raise CalibrationFileError(problem, hint=hint)
    # Neighbouring cells of a file may be alike: they are dealt out at random, always the same.
    fold = np.random.default_rng(0).permutation(len(truth)) % FOLDS
    held_out = np.empty_like(log_probabilities)
    for number in range(FOLDS):
        out = fold == number
        temperature = best_temperature(log_probabilities[~out], truth[~out])
        held_out[out] = among_labels(log_probabilities[out], temperature)
    right = log_probabilities.argmax(axis=1) == truth
    return Calibration(
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.digest,
        labels=tuple(labels),
        temperature=best,
        cells=len(truth),
        accuracy=float(right.mean()),
        macro_accuracy=float(np.mean([right[truth == n].mean() for n in np.unique(truth)])),
        before=figures(among_labels(log_probabilities, 1.0), truth),
        after=figures(held_out, truth),
        source=source,
    )


def best_temperature(log_probabilities: Float64, truth: NDArray[np.int64]) -> float:
    """The temperature with the least mean loss; the loss is convex in its inverse.

    The true label of n cells is taken for right with 1 - 1 / (n + 2), the rest is shared by the
    others (Platt): where every cell is right, the loss would otherwise fall on and on with the
    temperature. Labels that cannot be take no share.

    Args:
        log_probabilities: [B,N].
        truth: [B] place of the true label.

    Returns:
        1 where a single label leaves nothing to fit; a bound where there is no minimum.
    """
    cells, labels = log_probabilities.shape
    if labels < 2:
        return 1.0
    shifted = log_probabilities - log_probabilities.max(axis=1, keepdims=True)
    shifted = np.maximum(shifted, LEAST)
    own = shifted[np.arange(cells), truth]
    possible = shifted > LEAST
    possible[np.arange(cells), truth] = False
    count = possible.sum(axis=1)
    others = np.where(possible, shifted, 0.0).sum(axis=1) / np.maximum(count, 1)
    unsure = 1 / (cells + 2)
    wanted = np.where(count > 0, (1 - unsure) * own + unsure * others, own).mean()
    low, high = 1 / HOTTEST, HOTTEST  # of the inverse temperature
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        shares = among_labels(log_probabilities, 1 / middle)
        if (shares * shifted).sum(axis=1).mean() < wanted:  # the loss falls with the inverse
            low = middle
        else:
            high = middle
    return float(1 / np.sqrt(low * high))


def _is_usable(temperature: float) -> bool:
    """Whether it can be a minimum: not a bound of the search, as an endless fall would give."""
    return NEAR_BOUND / HOTTEST < temperature < HOTTEST / NEAR_BOUND


def figures(probabilities: Float64, truth: NDArray[np.int64]) -> Figures:
    """How good probabilities [B,N] are, given the place [B] of the true label."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    reliability = [
        (float(confidence[of].mean()), float(right[of].mean()), int(of.sum()))
        for of in (bins == number for number in range(BINS))
        if of.any()
    ]
    ece = sum(abs(said - was) * cells for said, was, cells in reliability) / len(truth)
    true = np.maximum(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).tiny)
    return Figures(ece=float(ece), loss=float(-np.log(true).mean()), reliability=reliability)


def save_calibration(calibration: Calibration, path: Path, *, force: bool = False) -> None:
    """Write a calibration file.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(json_bytes(calibration))


def load_calibration(path: Path, labels: Sequence[str], bundle: Bundle) -> Calibration:
    """Read a calibration file.

    Raises:
        CalibrationFileError: It is none, or of another bundle or other labels.
    """
    calibration = read_json(
        path,
        Calibration,
        bytes_max=FILE_BYTES_MAX,
        error=CalibrationFileError,
        hint=_HINT,
        what="a calibration of labels",
    )
    temperature = calibration.temperature
    if calibration.version != VERSION or not _is_usable(temperature):
        problem = f"{path} has version {calibration.version} and temperature {temperature}"
        raise CalibrationFileError(problem, hint=_HINT)
    if calibration.bundle_sha256 != bundle.digest:
        problem = f"{path} was fitted with another bundle, {calibration.bundle}"
        raise CalibrationFileError(problem, hint=_HINT)
    if set(calibration.labels) != set(labels):
        other = sorted(set(calibration.labels) ^ set(labels))
        problem = f"{path} was fitted with other labels: they differ in {other[0]!r}"
        if len(other) > 1:
            problem += f" and {len(other) - 1:,} more"
        raise CalibrationFileError(problem, hint=_HINT)
    return calibration
