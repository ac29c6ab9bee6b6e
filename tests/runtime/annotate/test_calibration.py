"""A fitted temperature makes probabilities true shares, on cells that it was not fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from tiny_data import tiny_bundle

from c2t.runtime.annotate.calibration import (
    CalibrationFileError,
    best_temperature,
    figures,
    fit_calibration,
    load_calibration,
    save_calibration,
)
from c2t.runtime.describe.labelled_cell import among_labels
from c2t.runtime.system.errors import OutputError

LABELS = ("a", "b", "c", "d")


def drawn(cells: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cells whose labels are drawn from probabilities; the scores say them too surely."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.full(len(LABELS), 0.5), cells)
    truth = np.array([draw.choice(len(LABELS), p=row) for row in shares])
    return np.log(np.maximum(shares, 1e-300)) * temperature, truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    scores, truth = drawn(20_000, temperature)
    assert best_temperature(scores, truth) == pytest.approx(temperature, rel=0.05)


def test_figures_of_other_cells() -> None:
    scores, truth = drawn(4000, 3.0)
    calibration = fit_calibration(
        scores, truth, LABELS, bundle=tiny_bundle().bundle, source="cells"
    )
    assert calibration.before.ece > 0.15
    assert calibration.after.ece < 0.05
    assert calibration.after.loss < calibration.before.loss
    assert calibration.accuracy == (scores.argmax(axis=1) == truth).mean()
    assert sum(cells for _, _, cells in calibration.after.reliability) == 4000
    assert "temperature" in calibration.sentence


def test_calibration_error_by_hand() -> None:
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = figures(shares, np.array([0, 1, 1, 1]))
    assert found.ece == pytest.approx((abs(0.9 - 0.5) * 2 + abs(0.6 - 1.0) * 2) / 4)
    assert found.loss == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())


def test_labels_that_cannot_be() -> None:
    """A probability of zero for the true label makes no figure infinite."""
    scores = np.array([[0.0, -np.inf]] * 40 + [[-1.0, -1.0]] * 40)
    truth = np.array([1] * 40 + [0] * 40)
    assert np.isfinite(best_temperature(scores, truth))
    assert np.isfinite(figures(among_labels(scores, 1.0), truth).loss)


@pytest.mark.parametrize("gap", [0.5, 5.0])
def test_separable_cells_do_not_become_certain(gap: float) -> None:
    """Every cell is right: the plain loss falls on and on, down to a temperature of 0."""
    truth = np.arange(40) % len(LABELS)
    scores = np.where(np.arange(len(LABELS)) == truth[:, None], 0.0, -gap) - 4.0
    fitted = fit_calibration(scores, truth, LABELS, bundle=tiny_bundle().bundle, source="cells")
    best = among_labels(scores, fitted.temperature).max(axis=1)
    assert best == pytest.approx(1 - 1 / 42, abs=1e-3)


def test_a_single_label_leaves_nothing_to_fit() -> None:
    assert best_temperature(np.full((40, 1), -3.0), np.zeros(40, dtype=np.int64)) == 1.0


def test_a_temperature_at_a_bound_is_refused(tmp_path: Path) -> None:
    """The labels are the least probable ones: the loss falls with every higher temperature."""
    bundle = tiny_bundle().bundle
    scores, truth = drawn(100, 2.0)
    with pytest.raises(CalibrationFileError, match="no temperature fits the 100 labelled cells"):
        fit_calibration(scores, scores.argmin(axis=1), LABELS, bundle=bundle, source="cells")
    path = tmp_path / "calibration.json"
    calibration = fit_calibration(scores, truth, LABELS, bundle=bundle, source="cells")
    for bound in (0.01, 100.0):
        save_calibration(replace(calibration, temperature=bound), path, force=True)
        with pytest.raises(CalibrationFileError, match=f"temperature {bound}"):
            load_calibration(path, LABELS, bundle)


def test_too_few_or_alike() -> None:
    bundle = tiny_bundle().bundle
    scores, truth = drawn(29, 1.0)
    with pytest.raises(CalibrationFileError, match="29 cells"):
        fit_calibration(scores, truth, LABELS, bundle=bundle, source="cells")
    scores, truth = drawn(50, 1.0)
    with pytest.raises(CalibrationFileError, match="all 50 labelled cells of cells are 'c'"):
        fit_calibration(scores, truth * 0 + 2, LABELS, bundle=bundle, source="cells")


def test_files(tmp_path: Path) -> None:
    bundle, path = tiny_bundle().bundle, tmp_path / "calibration.json"
    calibration = fit_calibration(*drawn(100, 2.0), LABELS, bundle=bundle, source="cells")
    save_calibration(calibration, path)
    assert load_calibration(path, LABELS[::-1], bundle) == calibration
    with pytest.raises(OutputError, match="exists"):
        save_calibration(calibration, path)
    with pytest.raises(CalibrationFileError, match="other labels: they differ in 'd'"):
        load_calibration(path, LABELS[:3], bundle)
    with pytest.raises(CalibrationFileError, match="another bundle"):
        load_calibration(path, LABELS, tiny_bundle("perceiver").bundle)
    good = path.read_text()
    for broken in (
        "{}",
        "no json",
        good.replace('"temperature": ', '"temperature": -'),
        good.replace('"temperature": ', '"temperature": 1e9, "more": '),
        good.replace('"version": 1', '"version": 2'),
    ):
        path.write_text(broken)
        with pytest.raises(CalibrationFileError):
            load_calibration(path, LABELS, bundle)
    with pytest.raises(CalibrationFileError):
        load_calibration(tmp_path / "none.json", LABELS, bundle)
