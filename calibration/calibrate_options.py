"""The options of a calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.results.gate import Tolerance
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.cells.options import CellOptions


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """How to calibrate, and how much the result may lose.

    Args:
        cells: The `.h5ad` file.
        output: The bundle to write.
        precision: Precision of the bundle.
        cells_count: Cells to calibrate on.
        gate_cells: Cells to hold out for the gate.
        label_column: Column of cell types; None: "cell_type" if there is one, else no labels.
        label_map: See `c2t.calibration.evaluate.true_labels`.
        ontology: Cell Ontology file for the gate; None: the installed guide's, if any.
        estimator: How thresholds of activations are found.
        smooth: Search smoothing factors (SmoothQuant).
        float_prefix: Whether keys and values of what all prompts begin with stay float32, for int8;
            None: where it helps, see `c2t.calibration.quantise.float_prefix`.
        tolerance: Limits of the gate.
        unsure_target: Share of right cell types that the bundle's threshold for unsure cells is
            fitted for, on the cells of the gate, where they have labels; None: fit none.
        divergence_linears: Number of the noisiest linears whose KL divergence is measured; None:
            all linears of a small model, a few of a large one, where each takes minutes.
        seed: Seed of every choice.
        threads: Threads of the engines; None: all cores.
        question: What is asked about each cell, of a bundle that answers questions; None: it
            describes cells.
        reading: How to read the file.
        force: Replace an existing bundle.
        force_gate: Write the bundle even if it does not pass the gate; its report says so.
    """

    cells: Path
    output: Path
    precision: Precision = Precision.int8
    cells_count: int = 256
    gate_cells: int = 256
    label_column: str | None = None
    label_map: Path | None = None
    ontology: Path | None = None
    estimator: Estimator = Estimator.mse
    smooth: bool = True
    float_prefix: bool | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    unsure_target: float | None = 0.95
    divergence_linears: int | None = None
    seed: int = 0
    threads: int | None = None
    question: str | None = None
    reading: CellOptions = field(default_factory=CellOptions)
    force: bool = False
    force_gate: bool = False
