"""The gate of quantisation: a new bundle against its float32 original, on held-out cells.

One decision: without labels the two are only held together, token by token; with labels the figures
and their limits are those of `c2t evaluate --gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from c2t.calibration.evaluate.cell_records import choose_examples, make_records
from c2t.calibration.evaluate.comparison import Comparison, compare
from c2t.calibration.evaluate.described_cells import DescribedCells, describe_cells, force_cells
from c2t.calibration.evaluate.evaluate import EvaluateOptions, evaluate_bundle
from c2t.calibration.evaluate.evaluation import CellRecord, Evaluation
from c2t.calibration.evaluate.gate import Tolerance, gate_failures
from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions

# Cells whose two texts are shown.
EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What to judge by.

    Args:
        cells: The file.
        reading: How to read the file, and which cells of it were held out.
        describing: How to describe.
        label_column: Column of cell types; None: no labels.
        label_map: See `c2t.calibration.metrics.true_labels`.
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
        examples: Some cells with both texts.
    """

    failures: tuple[str, ...]
    comparison: Comparison
    evaluation: Evaluation | None
    examples: tuple[CellRecord, ...]


class QualityGate:
    """Judges quantised bundles by one reference, which is described once.

    Args:
        reference: The float32 bundle.
        options: What to judge by.
    """

    def __init__(self, reference: Bundle, options: GateOptions) -> None:
        self._reference = reference
        self._options = options
        self._described: DescribedCells | None = None

    def judge(
        self, judged: Bundle, *, report: Callable[[str], None] = lambda _: None
    ) -> GateResult:
        """Judge a quantised bundle.

        Raises:
            EvaluationError: Labels that texts cannot be judged by.
            EngineError: No engine runs here.
        """
        if self._described is None:
            self._described = self._describe(self._reference, "describing (float32)")
        if self._options.label_column is None:
            return self._agreement(judged, self._described)
        return self._evaluation(judged, self._described, report)

    def _evaluation(
        self, judged: Bundle, reference: DescribedCells, report: Callable[[str], None]
    ) -> GateResult:
        options = self._options
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
            examples=choose_examples(records, EXAMPLES),
        )

    def _agreement(self, judged: Bundle, reference: DescribedCells) -> GateResult:
        options = self._options
        first = self._describe(judged, "describing")
        forced = force_cells(first, reference, options.cells, options.reading)
        bootstrap = Bootstrap(len(first.descriptions), options.bootstrap)
        found = compare(first.descriptions, reference.descriptions, bootstrap, forced)
        least, share = options.tolerance.agreement, found.token_agreement
        failures = []
        if share is not None and share.value < least:
            failures.append(
                f"token agreement is {100 * share.value:.2f} %; "
                f"at least {100 * least:.2f} % is asked for"
            )
        unlabelled: list[str | None] = [None] * len(first.descriptions)
        records = make_records(
            first.descriptions, (), {}, unlabelled, against=reference.descriptions
        )
        # Without labels, what differs is all there is to see.
        records.sort(key=lambda record: record.first_divergence is None)
        return GateResult(
            failures=tuple(failures),
            comparison=found,
            evaluation=None,
            examples=tuple(records[:EXAMPLES]),
        )

    def _describe(self, bundle: Bundle, label: str) -> DescribedCells:
        options = self._options
        with open_cells(options.cells, bundle, options.reading) as reader:
            return describe_cells(bundle, reader, options.describing, label=label)


def held_out(reading: CellOptions, positions: Sequence[int]) -> CellOptions:
    """The same way of reading, but only the cells at these positions of the file."""
    return replace(reading, cells=positions, limit=None)
