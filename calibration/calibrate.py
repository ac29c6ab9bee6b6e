"""`c2t calibrate` as a function: a float32 bundle and cells in, a judged quantised bundle out.

One decision: the bundle appears only after the gate has passed it. When it does not pass, the most
sensitive products go back to float32, as few as will do, and it is judged again.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import c2t
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.evaluate.chosen_cells import ChosenCells, choose_cells
from c2t.calibration.evaluate.golden import write_golden
from c2t.calibration.evaluate.quality_gate import GateOptions, GateResult, QualityGate, held_out
from c2t.calibration.quantise.calibration_plan import CalibrationPlan, make_plan
from c2t.calibration.quantise.choices import Precision
from c2t.calibration.quantise.integer_kernels import KernelReport, profile_kernels
from c2t.calibration.quantise.leaving_out import fewest
from c2t.calibration.quantise.quantised_bundle import (
    bytes_of,
    complete_manifest,
    write_quantised_bundle,
)
from c2t.calibration.quantise.recipe import Form, GraphRecipe
from c2t.calibration.quantise.sensitivity import (
    Sensitivity,
    measure_divergence,
    products_to_measure,
    rank,
)
from c2t.calibration.quantise.weight_plan import plan_weights
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.system_inputs import CalibrationCell, decoder_inputs, encoder_inputs
from c2t.calibration.report.calibration_page import write_calibration_page
from c2t.calibration.report.calibration_report import (
    Attempt,
    CalibrationReport,
    write_calibration_report,
)
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.system.errors import CalibrationError
from c2t.runtime.system.files import atomic_folder, check_folder_target
from c2t.runtime.system.timing import StageClock

Report = Callable[[str], None]
# Share of the products that may stay float32: what has more of them is no quantised bundle.
MOST_LEFT_OUT = 0.5


def calibrate_bundle(
    source: Bundle, options: CalibrateOptions, *, report: Report = lambda _: None
) -> CalibrationReport:
    """Quantise a bundle and write it, if it passes the gate.

    Args:
        source: The float32 bundle.
        options: What to calibrate with, where to write to, and what to keep.
        report: Told what is going on, a sentence at a time.

    Raises:
        CalibrationError: A bundle that is quantised already, too few cells, a column that is not
            there, or the gate was not passed; nothing is left behind.
        CellFileError: The file cannot be read as counts over known genes.
        EvaluationError: Labels that texts cannot be judged by.
        OutputError: The target cannot be written.
    """
    if source.manifest.precision != "fp32":
        problem = f"{source.path} is a bundle of precision {source.manifest.precision} already"
        raise CalibrationError(problem, hint="start from the float32 bundle that it was made from")
    check_folder_target(options.output, force=options.force)  # before minutes of work
    clock = StageClock()
    since = time.perf_counter()
    is_static = options.precision is Precision.int8
    chosen = choose_cells(source, options, report=report)
    since = clock.add("cells", since)
    report("collecting ranges of activations" if is_static else "looking at the weights")
    plan = _plan(source, options, chosen)
    since = clock.add("calibration", since)
    ranked = rank(plan.reports)
    worst = products_to_measure(source, options.divergence_products)
    if worst != 0:
        report(f"measuring the sensitivity of {'all' if worst is None else worst} products")
        ranked = measure_divergence(
            source,
            plan,
            ranked,
            chosen.cells,
            worst=worst,
            scratch=options.output.resolve().parent,
            threads=options.threads,
        )
    since = clock.add("sensitivity", since)
    with atomic_folder(options.output, force=options.force) as folder:
        gate = QualityGate(source, _gate_options(options, chosen))
        trials = _Trials(source, options, gate, plan, ranked, folder, report)
        left_out = fewest(int(MOST_LEFT_OUT * len(ranked)), trials.passes)
        if left_out is None:
            left_out = trials.best()
            if not options.force_gate:
                failures = "; ".join(trials.results[left_out].failures)
                problem = f"the bundle does not pass the gate: {failures}"
                hint = "calibrate on more cells like these, allow more, or pass --force-gate"
                raise CalibrationError(problem, hint=hint)
        bundle = trials.settle(left_out)
        clock.add("gate", since)
        result = trials.results[left_out]
        if result.evaluation is not None:
            for warning in result.evaluation.warnings:
                report(f"warning: {warning}")
        kept = write_golden(bundle, threads=options.threads)
        report(f"{kept} of {len(bundle.golden.cells)} golden cells keep their text")
        finished = CalibrationReport(
            c2t_version=c2t.__version__,
            precision=options.precision.value,
            source_sha256=source.digest,
            cells_file=options.cells.name,
            seed=options.seed,
            chosen=chosen.method,
            reduced=chosen.reduced,
            cells=chosen.names,
            gate_cells=chosen.gate_names,
            estimator=options.estimator.value,
            smooth=options.smooth,
            products=plan.reports,
            sensitivity=tuple(ranked),
            left_out=tuple(f"{s.graph} {s.product}" for s in ranked[:left_out]),
            attempts=tuple(trials.attempts),
            tolerance=options.tolerance,
            comparison=result.comparison,
            evaluation=result.evaluation,
            examples=result.examples,
            kernels=_kernels(bundle, plan.recipes, ranked[:left_out], chosen.cells[0]),
            bytes=bytes_of(bundle),
            source_bytes=bytes_of(source),
            seconds=clock.seconds,
            peak_memory_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )
        write_calibration_report(folder, finished)
        write_calibration_page(folder, bundle.manifest.name, finished)
        report("hashing the files")
        complete_manifest(bundle)
    return finished


def _plan(source: Bundle, options: CalibrateOptions, chosen: ChosenCells) -> CalibrationPlan:
    if options.precision is not Precision.int8:
        return plan_weights(source, Form(options.precision.value))
    return make_plan(
        TappedSystem(source, threads=options.threads),
        chosen.cells,
        estimator=options.estimator,
        smooth=options.smooth,
        seed=options.seed,
    )


def _gate_options(options: CalibrateOptions, chosen: ChosenCells) -> GateOptions:
    return GateOptions(
        cells=options.cells,
        reading=held_out(options.reading, chosen.gate_positions),
        # The form that calibration is about; a GPU runs another one.
        describing=DescribeOptions(threads=options.threads, engine="cpu"),
        label_column=chosen.label_column,
        label_map=options.label_map,
        ontology=options.ontology,
        tolerance=options.tolerance,
    )


@dataclass
class _Trials:
    """Bundles with more and more products left out, each written to the folder and judged."""

    source: Bundle
    options: CalibrateOptions
    gate: QualityGate
    plan: CalibrationPlan
    ranked: list[Sensitivity]
    folder: Path
    report: Report
    results: dict[int, GateResult] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    written: int | None = None

    def passes(self, left_out: int) -> bool:
        """Write and judge a bundle without the most sensitive products."""
        self.report(
            f"judging with {left_out} products in float32"
            if left_out
            else "judging on held-out cells"
        )
        result = self.gate.judge(self._write(left_out))
        self.results[left_out] = result
        self.attempts.append(_attempt(left_out, result))
        self.report("passed" if not result.failures else "; ".join(result.failures))
        return not result.failures

    def best(self) -> int:
        """The number with the highest agreement, when none passed."""
        return max(self.results, key=lambda n: self.attempt(n).token_agreement or 0.0)

    def attempt(self, left_out: int) -> Attempt:
        """The attempt with so many left out."""
        return next(a for a in self.attempts if a.left_out == left_out)

    def settle(self, left_out: int) -> Bundle:
        """The bundle with so many left out, in the folder."""
        if self.written != left_out:
            return self._write(left_out)
        return open_bundle(self.folder, verify=False)

    def _write(self, left_out: int) -> Bundle:
        for path in self.folder.iterdir():
            path.unlink()
        recipes = _without(self.plan.recipes, self.ranked[:left_out])
        self.written = left_out
        return write_quantised_bundle(
            self.source, self.folder, recipes, precision=self.options.precision.value
        )


def _attempt(left_out: int, result: GateResult) -> Attempt:
    evaluation, agreement = result.evaluation, result.comparison.token_agreement
    return Attempt(
        left_out=left_out,
        token_agreement=None if agreement is None else agreement.value,
        accuracy=None
        if evaluation is None
        else evaluation.judged.fields["cell_type"].accuracy.value,
        failures=result.failures,
    )


def _without(
    recipes: Mapping[str, GraphRecipe], items: Sequence[Sensitivity]
) -> dict[str, GraphRecipe]:
    return {
        name: recipe.without({item.product for item in items if item.graph == name})
        for name, recipe in recipes.items()
    }


def _kernels(
    bundle: Bundle,
    recipes: Mapping[str, GraphRecipe],
    left_out: Sequence[Sensitivity],
    cell: CalibrationCell,
) -> tuple[KernelReport, ...]:
    """What ONNX Runtime runs for the quantised products of each graph."""
    sizes = bundle.manifest
    vectors = np.zeros((8, sizes.decoder.hidden_size), np.float32)
    inputs = (
        encoder_inputs(bundle, cell.gene_tokens),
        {"hidden": np.zeros((1, 8, sizes.gene_input.hidden_size), np.float32)},
        decoder_inputs(bundle, vectors, cell.text_tokens),
    )
    found = []
    for name, given in zip(GRAPHS, inputs, strict=True):
        recipe = _without(recipes, left_out)[name]
        wanted = [p for p, r in recipe.products.items() if r.form is not Form.float32]
        found.append(profile_kernels(bundle.file(name), given, wanted))
    return tuple(found)
