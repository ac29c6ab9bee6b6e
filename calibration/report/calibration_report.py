"""What a calibration leaves in the bundle: `calibration.json`, and a page to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2t.calibration.evaluate.comparison import Comparison
from c2t.calibration.evaluate.evaluation import CellRecord, Evaluation
from c2t.calibration.evaluate.gate import Tolerance
from c2t.calibration.quantise.calibration_plan import ProductReport
from c2t.calibration.quantise.integer_kernels import KernelReport
from c2t.calibration.quantise.sensitivity import Sensitivity
from c2t.runtime.system.checked_read import json_bytes

REPORT_NAME = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at the gate.

    Args:
        left_out: Products that stayed float32, the most sensitive ones.
        token_agreement: With the float32 bundle, on the held-out cells.
        accuracy: Of cell types; None without labels.
        failures: What the gate found fault with; empty: passed.
    """

    left_out: int
    token_agreement: float | None
    accuracy: float | None
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """The contents of `calibration.json`.

    Args:
        c2t_version: What calibrated.
        precision: Of the bundle.
        source_sha256: Hash of the float32 bundle's manifest.
        cells_file: Name of the file of cells.
        seed: Of every choice.
        chosen: How the cells were chosen.
        reduced: What was asked for and could not be had.
        cells: Names of the cells it was calibrated on.
        gate_cells: Names of the cells that were held out for the gate.
        estimator: How activations' thresholds were found.
        smooth: Whether smoothing was searched.
        products: Every product.
        sensitivity: The most sensitive first.
        left_out: Products that are float32.
        attempts: Tries at the gate; the last one is the bundle.
        tolerance: Of the gate.
        comparison: With the float32 bundle on the held-out cells.
        evaluation: Both bundles judged by labels, on the same cells; None without labels.
        examples: Some of these cells with both texts.
        kernels: What ONNX Runtime ran, per graph.
        bytes: Of the bundle, this report left out.
        source_bytes: Of the float32 bundle.
        seconds: By stage.
        peak_memory_bytes: Most memory the process held.
    """

    c2t_version: str
    precision: str
    source_sha256: str
    cells_file: str
    seed: int
    chosen: str
    reduced: str | None
    cells: tuple[str, ...]
    gate_cells: tuple[str, ...]
    estimator: str
    smooth: bool
    products: tuple[ProductReport, ...]
    sensitivity: tuple[Sensitivity, ...]
    left_out: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    tolerance: Tolerance
    comparison: Comparison
    evaluation: Evaluation | None
    examples: tuple[CellRecord, ...]
    kernels: tuple[KernelReport, ...]
    bytes: int
    source_bytes: int
    seconds: dict[str, float]
    peak_memory_bytes: int


def write_calibration_report(folder: Path, report: CalibrationReport) -> None:
    """Write `calibration.json` into a bundle in the making."""
    (folder / REPORT_NAME).write_bytes(json_bytes(report))
