"""The gate of calibration: a quantised bundle against its float32 original, on held-out cells.

One decision: without labels the gate looks at token agreement alone. With labels its figures and
limits are those of `c2t evaluate --gate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from c2t.calibration.evaluate.cell_records import make_records
from c2t.calibration.evaluate.comparison import compare
from c2t.calibration.evaluate.described_cells import DescribedCells, describe_cells, force_cells
from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.truth import Truth
from c2t.calibration.metrics.bootstrap import Bootstrap
from c2t.calibration.results.evaluation import CellRecord, Comparison, Evaluation
from c2t.calibration.results.gate import Tolerance, agreement_failures, gate_failures
from c2t.calibration.results.vectors import VectorComparison
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import Describer


@dataclass(frozen=True, eq=False, kw_only=True)
class GateResult:
    """What the gate found.

    Args:
        failures: Figures that miss the tolerance, a sentence each; empty: passed.
        comparison: Texts and tokens of the two bundles; None where they write none.
        evaluation: All figures; None without labels.
        examples: Some cells with both texts.
        records: All cells; empty without labels.
        vectors: Vectors of the two bundles, where they write no texts.
    """

    failures: tuple[str, ...]
    comparison: Comparison | None
    evaluation: Evaluation | None
    examples: tuple[CellRecord, ...]
    records: tuple[CellRecord, ...] = ()
    vectors: VectorComparison | None = None


class QualityGate:
    """Judges quantised bundles against one reference, which describes the cells once.

    Args:
        reference: The float32 bundle.
        options: The held-out cells, and how to describe and judge them.
        truth: Their labels; None: there are none.
        tolerance: What a bundle may lose.
    """

    def __init__(
        self,
        reference: Bundle,
        options: EvaluateOptions,
        *,
        truth: Truth | None,
        tolerance: Tolerance,
    ) -> None:
        self._reference = reference
        self._options = options
        self._truth = truth
        self._tolerance = tolerance
        self._described: DescribedCells | None = None

    def judge(
        self, judged: Bundle, *, report: Callable[[str], None] = lambda _: None
    ) -> GateResult:
        """Judge a quantised bundle on the held-out cells, against the float32 bundle.

        Raises:
            EvaluationError: No cell could be described.
            EngineError: No engine runs here.
        """
        if self._described is None:
            self._described = self._describe(self._reference, "describing (float32)")
        if self._truth is None:
            return self._agreement(judged, self._described)
        evaluation, records = evaluate_bundle(
            judged, self._options, truth=self._truth, against=self._described, report=report
        )
        assert evaluation.comparison is not None
        return GateResult(
            failures=tuple(gate_failures(evaluation, self._tolerance)),
            comparison=evaluation.comparison,
            evaluation=evaluation,
            examples=evaluation.examples,
            records=tuple(records),
        )

    def _agreement(self, judged: Bundle, reference: DescribedCells) -> GateResult:
        options = self._options
        described = self._describe(judged, "describing")
        forced = force_cells(described, reference, options.cells, options.reading)
        descriptions = described.descriptions
        bootstrap = Bootstrap(len(descriptions), options.bootstrap)
        comparison = compare(descriptions, reference.descriptions, bootstrap, forced)
        without: list[str | None] = [None] * len(descriptions)
        records = make_records(descriptions, (), {}, without, against=reference.descriptions)
        # Without labels, cells whose texts differ are the ones to show.
        records.sort(key=lambda record: record.first_divergence is None)
        return GateResult(
            failures=tuple(agreement_failures(comparison, self._tolerance)),
            comparison=comparison,
            evaluation=None,
            examples=tuple(records[: options.examples]),
        )

    def _describe(self, bundle: Bundle, label: str) -> DescribedCells:
        options = self._options
        with open_cells(options.cells, bundle, options.reading) as reader:
            return describe_cells(
                bundle, Describer(bundle, options.describing), reader, label=label
            )
