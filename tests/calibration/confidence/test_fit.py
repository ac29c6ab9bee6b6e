"""Probabilities that hold on unseen cells, thresholds that reach their target, honest figures."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.calibration.confidence.fit import find_threshold, fit_rule, unseen_probabilities
from c2t.calibration.confidence.polyline import FITS, fit_isotonic, fit_platt
from c2t.calibration.confidence.reliability import reliability
from c2t.calibration.confidence.score import score_certainty
from c2t.runtime.system.errors import EvaluationError


def overconfident(count: int, seed: int = 0):
    """Confidences near 1 of cells that are right in proportion to another, known share."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.4, 1.0, count)
    confidence = 1 - (1 - truth) ** 2 * 0.5
    return confidence, (rng.uniform(size=count) < truth).astype(float), truth


@pytest.mark.parametrize("method", list(FITS))
def test_curves_find_the_share(method: str) -> None:
    confidence, right, truth = overconfident(20_000)
    line = FITS[method](confidence, right)
    assert np.all(np.diff(line.confidence) > 0)
    assert np.all(np.diff(line.probability) >= 0)
    assert np.abs(line(confidence) - truth).mean() < 0.03


def test_few_cells_give_no_certainty() -> None:
    sure = np.full(12, 0.99)
    for fit in (fit_platt, fit_isotonic):
        assert fit(sure, np.ones(12))(np.array([0.99]))[0] <= 1
    assert fit_platt(sure, np.ones(12))(np.array([0.99]))[0] < 0.95
    assert fit_platt(sure, np.zeros(12))(np.array([0.99]))[0] > 0.02


def test_confidence_that_misleads_is_not_followed() -> None:
    confidence = np.linspace(0.1, 0.9, 200)
    right = (confidence < 0.5).astype(float)
    line = fit_platt(confidence, right)
    assert np.ptp(line.probability) < 1e-9
    assert line(np.array([0.2]))[0] == pytest.approx(0.5, abs=0.02)


def test_errors_before_and_after_are_of_unseen_cells() -> None:
    confidence, right, _ = overconfident(1000)
    fit = fit_rule(confidence, right, target=0.9)
    assert fit.before.ece > 0.1
    assert fit.after.ece < 0.05
    held, held_right, _ = overconfident(20_000, seed=1)
    assert reliability(fit.line(held), held_right, of="x").ece < 0.03
    answered = fit.line(held) >= fit.threshold
    # What is promised of unseen cells is what happens to them, within chance.
    assert held_right[answered].mean() == pytest.approx(fit.answered_right, abs=0.03)
    assert answered.mean() == pytest.approx(fit.answered, abs=0.05)
    assert fit.answered_right == pytest.approx(0.9, abs=0.03)


def test_a_coin_gains_nothing_by_a_fit() -> None:
    """Small samples: a confidence that says nothing must not look good on the cells of the fit."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        confidence = rng.uniform(size=120)
        right = np.random.default_rng(seed).integers(0, 2, 120).astype(float)
        unseen = unseen_probabilities(confidence, right)
        assert np.mean((unseen - right) ** 2) > 0.24  # 0.25 is a constant half


def test_thresholds() -> None:
    p = np.array([0.99] * 30 + [0.9] * 30 + [0.5] * 40)
    right = np.array([1.0] * 30 + [1.0] * 27 + [0.0] * 3 + [1.0] * 20 + [0.0] * 20)
    assert 0.5 < find_threshold(p, right, 0.95) < 0.9  # 57 of 60 are right
    assert 0.9 < find_threshold(p, right, 0.96) < 0.99
    assert find_threshold(p, right, 0.77) == 0.0  # all of them are
    with pytest.raises(EvaluationError, match="no threshold makes 99 %") as caught:
        find_threshold(p, np.concatenate([[0.0], right[1:]]), 0.99)
    assert "--unsure-target" in caught.value.hint
    assert "30 of 100 are right in 96.7 %" in caught.value.problem


def test_cells_of_equal_probability_stay_together() -> None:
    p = np.full(50, 0.8)
    right = np.array([1.0] * 40 + [0.0] * 10)
    with pytest.raises(EvaluationError):
        find_threshold(p, right, 0.9)


def test_cells_without_a_cell_type_are_never_answered() -> None:
    confidence, right, _ = overconfident(400)
    confidence = np.concatenate([confidence, np.full(100, np.nan)])
    right = np.concatenate([right, np.zeros(100)])
    fit = fit_rule(confidence, right, target=0.8)
    assert fit.cells == 500
    assert fit.answered <= 0.8
    with pytest.raises(EvaluationError, match="99 labelled cells"):
        fit_rule(confidence[:99], right[:99])


def test_reliability_is_guos() -> None:
    found = reliability(np.array([0.05, 0.05, 0.95, 1.0]), np.array([0, 1, 1, 1.0]), of="x")
    assert [(b.cells, b.right) for b in found.bins] == [(2, 0.5), (2, 1.0)]
    assert found.ece == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 4)


def test_scores_say_whose_probability_it_is() -> None:
    confidence, right, truth = overconfident(300)
    own = score_certainty(confidence, right)
    assert own is not None
    assert own.after is not None
    assert (own.stated, own.answers) == (False, None)
    assert own.after.ece < own.before.ece
    stated = score_certainty(confidence, right, stated=truth, unsure=(truth < 0.7).astype(float))
    assert stated is not None
    assert stated.stated
    assert stated.answers is not None
    assert stated.answers.answered_right > stated.answers.unsure_right
    few = score_certainty(confidence[:20], right[:20])
    assert few is not None
    assert few.after is None
    assert score_certainty(np.full(3, np.nan), np.zeros(3)) is None


def test_corners_that_differ_in_their_last_digits_stay_apart() -> None:
    rng = np.random.default_rng(3)
    confidence = 1 - rng.uniform(size=2000) ** 3 * 2e-6
    right = (rng.uniform(size=2000) < 0.5 + (confidence - 1 + 2e-6) / 4e-6).astype(float)
    line = fit_isotonic(confidence, right)
    assert len(line.confidence) > 3
    assert np.all(np.diff(line.confidence) > 0)
    assert line.confidence[-1] <= 1


def test_corners_that_rounding_makes_one_are_one() -> None:
    below_one = np.nextafter(1.0, 0.0)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        confidence = rng.choice([below_one, 1.0, np.nextafter(below_one, 0.0)], 60)
        line = fit_isotonic(confidence, (rng.uniform(size=60) < 0.6).astype(float))
        assert np.all(np.diff(line.confidence) > 0)
        assert line.confidence[-1] <= 1


def test_threshold_between_neighbouring_numbers_leaves_out_what_it_should() -> None:
    low = 0.7
    high = np.nextafter(low, 1.0)
    for below, above in ((low, high), (high, np.nextafter(high, 1.0))):
        probability = np.repeat([below, above], 50)
        right = np.repeat([0.0, 1.0], 50)
        threshold = find_threshold(probability, right, 0.9)
        assert (probability >= threshold).tolist() == (right == 1).tolist()
