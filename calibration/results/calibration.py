"""What a calibration found: the contents of `calibration.json`.

The file calls a linear "product", as do older bundles; `_FORMAT_NAMES` renames the fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from c2t.calibration.results.evaluation import CellRecord, Comparison, Evaluation
from c2t.calibration.results.gate import Tolerance
from c2t.calibration.results.vectors import VectorComparison
from c2t.runtime.bundle.unsure_rule import UnsureRule

REPORT_NAME = "calibration.json"
_FORMAT_NAMES = {"linear": "product", "linears": "products"}


class LinearReport(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """What calibration measured of one linear.

    Args:
        graph: File of its graph.
        linear: Its name.
        inputs: K.
        outputs: N.
        largest: Largest magnitude of its input before smoothing; NaN in a weight-only bundle.
        strength: SmoothQuant's exponent, 0 to 0.8; 0 is no smoothing.
        foldable: Whether the graph has a place for smoothing's division.
        threshold: Magnitude above which its input, after smoothing, is clipped; NaN in a
            weight-only bundle.
        sqnr: Signal-to-quantisation-noise ratio of its output, in dB, on a sample of rows, when
            this linear alone is quantised.
    """

    graph: str
    linear: str
    inputs: int
    outputs: int
    largest: float
    strength: float
    foldable: bool
    threshold: float
    sqnr: float


class WidenedLinear(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """A linear of the decoder whose input is larger in what prompts begin with than behind that.

    Args:
        linear: Its name.
        times: Largest magnitude there, over the largest of the cells' own tokens.
    """

    linear: str
    times: float


@dataclass(frozen=True, kw_only=True)
class FloatPrefixReport:
    """What all prompts begin with, whose keys and values stay float32.

    Args:
        tokens: Its text tokens.
        widened: Linears whose scales it would have made coarser, the most first.
    """

    tokens: int
    widened: tuple[WidenedLinear, ...]

    @property
    def sentence(self) -> str:
        """What stays float32, and why, for people."""
        kept = f"keys and values of the first {self.tokens} tokens of all prompts stay float32"
        if not self.widened:
            return kept
        worst = self.widened[0]
        return f"{kept}: they make the input of {worst.linear} {worst.times:,.0f} times as large"


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """How much quantising one linear alone disturbs the model.

    Args:
        graph: File of its graph.
        linear: Its name.
        sqnr: Of its own output, in dB.
        kl: Mean KL(float32 || quantised) of a text token, in nats; None where not measured.
    """

    graph: str
    linear: str
    sqnr: float
    kl: float | None = None


@dataclass(frozen=True, kw_only=True)
class KernelReport:
    """What ONNX Runtime ran for the quantised linears of a graph.

    Args:
        graph: Its file.
        kernels: Linear -> operator, as it ran.
        float32: Quantised linears that ran on neither an integer nor a block kernel.
        widened: How often a run dequantised a whole tensor.
    """

    graph: str
    kernels: dict[str, str]
    float32: tuple[str, ...]
    widened: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at the gate.

    Args:
        left_out: How many linears stayed float32, the most sensitive ones.
        token_agreement: With the float32 bundle, on the held-out cells; None where it writes no
            text.
        accuracy: Of cell types; None without labels.
        failures: What misses the gate's limits; empty: passed.
        cosine: Mean of a cell's vectors, where the bundle writes no text.
    """

    left_out: int
    token_agreement: float | None
    accuracy: float | None
    failures: tuple[str, ...]
    cosine: float | None = None


class CalibrationReport(msgspec.Struct, frozen=True, kw_only=True, rename=_FORMAT_NAMES):
    """The contents of `calibration.json`.

    Args:
        c2t_version: Version that calibrated.
        precision: Of the bundle.
        source_sha256: Hash of the float32 bundle's manifest.
        cells_file: Name of the file of cells.
        seed: Of every choice.
        chosen: How the cells were chosen.
        reduced: Says that the file had too few cells for what was asked; None if it had enough.
        cells: Names of the cells to calibrate on.
        gate_cells: Names of the cells that were held out for the gate.
        estimator: How thresholds of activations were found.
        smooth: Whether smoothing was searched.
        linears: Every linear.
        sensitivity: The most sensitive first.
        left_out: Linears that stayed float32, as "graph name".
        attempts: Tries at the gate; the last one is the bundle.
        tolerance: Limits of the gate.
        comparison: With the float32 bundle on the held-out cells; None where it writes no text.
        vectors: The same of where cells lie in the joint space, where it writes no text.
        evaluation: Both bundles judged by labels, on the same cells; None without labels.
        examples: Some of these cells with both texts.
        question: What was asked about each cell; None: it was described.
        unsure: The rule for unsure cells that the bundle states; None if it states none.
        float_prefix: What all prompts begin with, where that stays float32; None if it does not.
        kernels: What ONNX Runtime ran, by graph.
        bytes: Size of the bundle without this report.
        source_bytes: Size of the float32 bundle.
        seconds: Time of each stage; none where SOURCE_DATE_EPOCH asks for repeatable bytes.
        peak_memory_bytes: Largest resident memory of the process; 0 likewise.
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
    linears: tuple[LinearReport, ...]
    sensitivity: tuple[Sensitivity, ...]
    left_out: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    tolerance: Tolerance
    comparison: Comparison | None
    evaluation: Evaluation | None
    examples: tuple[CellRecord, ...]
    kernels: tuple[KernelReport, ...]
    bytes: int
    source_bytes: int
    seconds: dict[str, float]
    peak_memory_bytes: int
    unsure: UnsureRule | None = None
    float_prefix: FloatPrefixReport | None = None
    vectors: VectorComparison | None = None
    question: str | None = None
