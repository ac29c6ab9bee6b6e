"""The gate of quantisation: a new bundle against its float32 original, on held-out cells.

One decision: without labels the two are only held together, token by token; with labels the figures
and their limits are those of `c2t evaluate --gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from c2t.calibration.bootstrap import Bootstrap, BootstrapOptions
from c2t.calibration.comparison import Comparison, compare
from c2t.calibration.described_cells import describe_cells, force_cells
from c2t.calibration.evaluate import EvaluateOptions, evaluate_bundle
from c2t.calibration.evaluation import CellRecord, Evaluation
from c2t.calibration.gate import Tolerance, gate_failures
from c2t.runtime.bundle import Bundle
from c2t.runtime.cell_file import CellOptions, open_cells
from c2t.runtime.describe import DescribeOptions


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What to judge by.

    Args:
        cells: The file.
        reading: How to read the file, and which cells of it were held out.
        describing: How to describe.
        label_column: Column of cell types; None: no labels.
        label_map: See `c2t.calibration.true_labels`.
        ontology: Cell Ontology file; None: the installed guide's, if any.
        tolerance: What the bundle may lose.
        bootstrap: How intervals are found.
    """

    cells: Path
    reading: CellOptions
    describing: DescribeOptions
    label_column: str | None = None
    label_map: Path | None = None
    ontology: Path | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)


@dataclass(frozen=True, eq=False, kw_only=True)
class GateResult:
    """What the gate found.

    Args:
        failures: What falls below the tolerance, a sentence each; empty: passed.
        comparison: Texts and tokens of the two bundles.
        evaluation: All figures; None without labels.
        records: Cell by cell; empty without labels.
    """

    failures: tuple[str, ...]
    comparison: Comparison
    evaluation: Evaluation | None
    records: Sequence[CellRecord]


def run_gate(
    judged: Bundle,
    reference: Bundle,
    options: GateOptions,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> GateResult:
    """Judge a quantised bundle.

    Raises:
        EvaluationError: Labels that texts cannot be judged by.
        EngineError: No engine runs here.
    """
    if options.label_column is None:
        return _agreement(judged, reference, options)
    evaluation, records = evaluate_bundle(
        judged,
        EvaluateOptions(
            cells=options.cells,
            columns={"cell_type": options.label_column},
            label_map=options.label_map,
            ontologies={"cell_type": options.ontology},
            reading=options.reading,
            describing=options.describing,
            bootstrap=options.bootstrap,
        ),
        against=reference,
        report=report,
    )
    assert evaluation.comparison is not None
    return GateResult(
        failures=tuple(gate_failures(evaluation, options.tolerance)),
        comparison=evaluation.comparison,
        evaluation=evaluation,
        records=records,
    )


def held_out(reading: CellOptions, positions: Sequence[int]) -> CellOptions:
    """The same way of reading, but only the cells at these positions of the file."""
    return replace(reading, cells=positions, limit=None)


def _agreement(judged: Bundle, reference: Bundle, options: GateOptions) -> GateResult:
    described = []
    for bundle, label in ((judged, "describing"), (reference, "describing (against)")):
        with open_cells(options.cells, bundle, options.reading) as reader:
            described.append(describe_cells(bundle, reader, options.describing, label=label))
    first, second = described
    forced = force_cells(first, second, options.cells, options.reading, options.describing.threads)
    bootstrap = Bootstrap(len(first.descriptions), options.bootstrap)
    found = compare(first.descriptions, second.descriptions, bootstrap, forced)
    least, share = options.tolerance.agreement, found.token_agreement
    failures = []
    if share is not None and share.value < least:
        failures.append(
            f"token agreement is {100 * share.value:.2f} %; "
            f"at least {100 * least:.2f} % is asked for"
        )
    return GateResult(failures=tuple(failures), comparison=found, evaluation=None, records=())
