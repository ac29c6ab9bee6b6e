"""Calibration of a bundle that writes no text: its gate compares vectors, scores and finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_process import make_cells
from tiny_data import joint_bundle

from c2t.calibration.calibrate import calibrate_bundle
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.vector_gate import Places, VectorGate, compare_vectors
from c2t.calibration.quantise.integer_kernels import INTEGER_KERNELS
from c2t.calibration.results.calibration import CalibrationReport
from c2t.calibration.results.gate import Tolerance
from c2t.calibration.results.vectors import vector_failures
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.embedder import Embedder, joined_vectors
from c2t.runtime.describe.verify_vectors import verify_golden_vectors
from c2t.runtime.system.errors import CalibrationError, EvaluationError


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 40)


def calibrated(
    cells: Path, output: Path, precision: Precision = Precision.int8, **more: object
) -> CalibrationReport:
    options = CalibrateOptions(
        cells=cells,
        output=output,
        precision=precision,
        cells_count=12,
        gate_cells=16,
        threads=1,
        **{"tolerance": Tolerance(agreement=0.5), **more},
    )
    return calibrate_bundle(joint_bundle(), options)


@pytest.mark.parametrize("precision", [Precision.int8, Precision.int8_weights])
def test_calibrated(cells: Path, tmp_path: Path, precision: Precision) -> None:
    report = calibrated(cells, tmp_path / "b", precision)
    assert report.comparison is None
    assert report.vectors is not None
    assert report.vectors.cosine.value > 0.999
    assert 0 < report.vectors.score_difference < 0.1
    graphs = {linear.graph for linear in report.linears}
    text = {"text.onnx"} if precision is Precision.int8_weights else set()
    assert graphs == {"encoder.onnx", "projector.onnx"} | text
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.precision == precision
    assert not verify_golden_vectors(bundle).differences
    page = (tmp_path / "b" / "calibration.html").read_text()
    assert "same best text" in page
    if precision is Precision.int8:
        encoder = report.kernels[0]
        assert set(encoder.kernels.values()) <= INTEGER_KERNELS
        assert not encoder.float32
        same = (tmp_path / "b" / "text.onnx.data").read_bytes()
        assert same == (joint_bundle().path / "text.onnx.data").read_bytes()


def test_the_vectors_are_near_and_not_the_same(cells: Path, tmp_path: Path) -> None:
    report = calibrated(cells, tmp_path / "b")
    judged, source = (_vectors(b, cells) for b in (open_bundle(tmp_path / "b"), joint_bundle()))
    good = ~np.isnan(source).any(axis=1)
    cosines = (judged[good] * source[good]).sum(axis=1)
    assert 0.999 < cosines.min() < 1 - 1e-7
    assert report.vectors is not None
    assert report.vectors.least_cosine >= cosines.min() - 1e-9


def _vectors(bundle: Bundle, cells: Path) -> np.ndarray:
    embedder = Embedder(bundle)
    with open_cells(cells, bundle) as reader:
        joint = joined_vectors(embedder.embed(reader), embedder).joint
    assert joint is not None
    return joint.astype(np.float64)


def places(cells: list[list[float]], texts: list[list[float]]) -> Places:
    return Places(cells=np.array(cells, np.float32), texts=np.array(texts, np.float32))


def test_the_figures() -> None:
    options, nan = EvaluateOptions(cells=Path("x")), float("nan")
    texts = [[1.0, 0.0], [0.0, 1.0]]
    expected = places([[1, 0], [0, 1], [0.8, 0.6], [nan, nan]], texts)
    judged = places([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], texts)
    found = compare_vectors(judged, expected, temperature=0.0, options=options)
    assert (found.cells, found.texts, found.same_found) == (3, 2, 1.0)
    assert found.least_cosine == pytest.approx(0.96)
    assert found.cosine.value == pytest.approx((1 + 1 + 0.96) / 3)
    assert found.same_best_text.value == pytest.approx(2 / 3)
    assert found.score_difference == pytest.approx(0.4 / 6)
    assert vector_failures(found, Tolerance(agreement=0.6)) == [
        "the cosine of a cell's vectors is 0.9867; at least 0.99 is asked for"
    ]
    assert "66.67 % of the cells have the same best text" in vector_failures(found, Tolerance())[1]
    with pytest.raises(EvaluationError, match="no held-out cell"):
        compare_vectors(places([[nan, nan]], texts), expected, temperature=0.0, options=options)


def test_what_a_search_finds_is_compared() -> None:
    """Of twenty cells on a quarter of a circle a text finds the ten that are nearest."""
    angles = np.linspace(0, np.pi / 2, 20)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).tolist()
    options = EvaluateOptions(cells=Path("x"))
    expected = places(circle, [[1.0, 0.0]])
    turned = places(circle[:5] + circle[5:][::-1], [[1.0, 0.0]])
    found = compare_vectors(turned, expected, temperature=0.0, options=options)
    assert found.same_found == 0.5


def test_a_bundle_that_fails_is_not_left_behind(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.calibration.results.vectors.LEAST_COSINE", 1.1)
    with pytest.raises(CalibrationError, match="the cosine of a cell's vectors is"):
        calibrated(cells, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    report = calibrated(cells, tmp_path / "b", force_gate=True)
    assert all(attempt.failures for attempt in report.attempts)
    assert report.attempts[0].cosine is not None


def test_the_gate_of_the_bundle_itself(cells: Path) -> None:
    """Float32 against itself is the same to the last bit."""
    options = EvaluateOptions(cells=cells)
    result = VectorGate(joint_bundle(), options, tolerance=Tolerance(), threads=1).judge(
        joint_bundle()
    )
    assert not result.failures
    assert result.vectors is not None
    assert result.vectors.same_best_text.value == result.vectors.same_found == 1.0
    assert result.vectors.score_difference == 0.0
