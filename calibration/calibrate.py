"""`c2t calibrate` as a function: a float32 bundle and cells in, a judged quantised bundle out.

One decision: the bundle appears only after the gate has passed it. If it does not pass, the most
sensitive linears go back to float32, as few as are needed, and it is judged again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import c2t
from c2t.calibration.calibrate_options import CalibrateOptions
from c2t.calibration.checks import check_calibration
from c2t.calibration.chosen_cells import ChosenCells, choose_cells
from c2t.calibration.evaluate.quality_gate import GateResult, QualityGate
from c2t.calibration.evaluate.unsure_bundle import write_rule
from c2t.calibration.evaluate.unsure_fit import (
    check_labels_are_named,
    fit_unsure,
    fitted_on,
    judged_cells,
    rule_sentence,
)
from c2t.calibration.evaluate.vector_gate import VectorGate
from c2t.calibration.quantise.calibration_plan import CalibrationPlan, make_plan
from c2t.calibration.quantise.float_prefix import prefix_report
from c2t.calibration.quantise.integer_kernels import profile_kernels
from c2t.calibration.quantise.quantised_bundle import bytes_of, complete_manifest
from c2t.calibration.quantise.weight_plan import plan_weights
from c2t.calibration.ranges.collect import TappedSystem
from c2t.calibration.ranges.system_inputs import CalibrationCell, example_inputs
from c2t.calibration.report.calibration_page import write_calibration_report
from c2t.calibration.results.calibration import CalibrationReport, KernelReport, Sensitivity
from c2t.calibration.sensitivity import linears_to_measure, measure_divergence, rank
from c2t.calibration.trials import Trials
from c2t.runtime.bundle.bundle import Bundle, GoldenCells, open_bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, UnsureRule
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.asked_bundle import asked_bundle
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.unsure import text_settings
from c2t.runtime.describe.verify_vectors import golden_vectors_of
from c2t.runtime.joint.golden import GOLDEN_VECTORS, GoldenVectors, read_golden_vectors
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import C2TError, CalibrationError
from c2t.runtime.system.files import atomic_folder
from c2t.runtime.system.portable.memory import peak_memory
from c2t.runtime.system.progress import progress_bar
from c2t.runtime.system.timing import StageClock

Report = Callable[[str], None]


def calibrate_bundle(
    source: Bundle,
    options: CalibrateOptions,
    *,
    verify: bool = False,
    report: Report = lambda _: None,
) -> CalibrationReport:
    """Quantise a bundle and write it, if it passes the gate.

    Args:
        source: The float32 bundle.
        options: How to calibrate, and what the result may lose.
        verify: Compare the hashes of the source's files, after the checks that take seconds.
        report: Called with a sentence about each step.

    Raises:
        BundleError: A file of the source was changed; or it answers no questions, and is asked one.
        C2TError: A question that it cannot be asked.
        CalibrationError: See `check_calibration` and `choose_cells`; or no bundle passes the gate.
            Nothing is left behind.
        CellFileError: The file cannot be read as counts over known genes.
        EvaluationError: Labels that texts cannot be judged by.
        OutputError: The target cannot be written.
    """
    if options.question is not None:
        source = asked_bundle(source, options.question)
    check_calibration(source, options)
    with atomic_folder(options.output, force=options.force) as folder:
        if verify:
            with progress_bar("checking the bundle", source.bytes, unit="bytes") as advance:
                source.check_hashes(progress=advance)
        return _Calibration(source, options, folder, report).run()


@dataclass
class _Calibration:
    """One calibration, written to an empty folder.

    Attributes:
        clock: Time of each stage.
    """

    source: Bundle
    options: CalibrateOptions
    folder: Path
    report: Report

    def run(self) -> CalibrationReport:
        """All stages: cells, calibration, sensitivity, gate; then the files that report them."""
        options, clock, since = self.options, StageClock(), time.perf_counter()
        golden = _golden(self.source)  # a damaged one is refused now, not at the end
        chosen = choose_cells(self.source, options, report=self.report)
        since = clock.add("cells", since)
        plan = self._plan(chosen)
        since = clock.add("calibration", since)
        ranked = self._rank(plan, chosen)
        since = clock.add("sensitivity", since)
        trials = Trials(
            self.source,
            self._gate(chosen),
            plan.recipes,
            ranked,
            folder=self.folder,
            precision=options.precision,
            prefix=plan.prefix,
            report=self.report,
        )
        left_out = trials.run(force=options.force_gate)
        bundle = trials.bundle(left_out)
        clock.add("gate", since)
        result = trials.result(left_out)
        if result.evaluation is not None:
            for warning in result.evaluation.warnings:
                self.report(f"warning: {warning}")
        unsure = self._fit_unsure(bundle, chosen, result)
        bundle = self._unasked(bundle)
        self.report(_write_golden(bundle, golden, threads=options.threads))
        # Then two runs write the same bytes, as exports do.
        repeatable = "SOURCE_DATE_EPOCH" in os.environ
        done = CalibrationReport(
            c2t_version=c2t.__version__,
            precision=options.precision.value,
            source_sha256=self.source.digest,
            cells_file=options.cells.name,
            seed=options.seed,
            chosen=chosen.method,
            reduced=chosen.reduced,
            cells=chosen.names,
            gate_cells=chosen.gate_names,
            estimator=options.estimator.value,
            smooth=options.smooth,
            linears=plan.reports,
            sensitivity=tuple(ranked),
            left_out=tuple(f"{s.graph} {s.linear}" for s in ranked[:left_out]),
            attempts=tuple(trials.attempts),
            tolerance=options.tolerance,
            comparison=result.comparison,
            evaluation=result.evaluation,
            examples=result.examples,
            unsure=unsure,
            float_prefix=prefix_report(plan.prefix),
            question=options.question,
            vectors=result.vectors,
            kernels=_kernels(bundle, trials, left_out, chosen.cells[0]),
            bytes=bytes_of(bundle),
            source_bytes=bytes_of(self.source),
            seconds={} if repeatable else clock.seconds,
            peak_memory_bytes=0 if repeatable else peak_memory(),
        )
        write_calibration_report(self.folder, bundle.manifest.name, done)
        self.report("hashing the files")
        complete_manifest(bundle)
        return done

    def _gate(self, chosen: ChosenCells) -> QualityGate | VectorGate:
        options = self.options
        if not self.source.manifest.has_decoder:
            return VectorGate(
                self.source, chosen.gate, tolerance=options.tolerance, threads=options.threads
            )
        return QualityGate(
            self.source, chosen.gate, truth=chosen.truth, tolerance=options.tolerance
        )

    def _fit_unsure(
        self, bundle: Bundle, chosen: ChosenCells, result: GateResult
    ) -> UnsureRule | None:
        """State how likely this bundle's cell types are right, where the held-out cells say so.

        The float32 bundle's rule is not copied: to quantise changes how sure a model is. Where no
        rule can be fitted or written, the bundle states none, and that is said.
        """
        if not self.source.manifest.has_decoder:
            return None  # it writes no texts, and has no threshold for them
        options, records = self.options, judged_cells(result.records)
        if options.unsure_target is None or not records:
            self._report_unstated("there are no labels" if not records else "")
            return None
        column = chosen.gate.columns["cell_type"] or ""
        try:
            if options.label_map is None:
                check_labels_are_named(records)
            file = fitted_on(
                options.cells,
                len(records),
                column=column,
                label_map=options.label_map,
                which=f"those held out for the gate, seed {options.seed}",
            )
            rule = fit_unsure(
                bundle,
                records,
                [file],
                target=options.unsure_target,
                generation=text_settings(bundle.manifest.generation),
            )
            write_rule(self.folder, rule)
        # Whatever goes wrong here, hours of calibration are not thrown away for it.
        except (C2TError, ArithmeticError, ValueError) as error:
            (self.folder / UNSURE_NAME).unlink(missing_ok=True)
            said = error.problem if isinstance(error, C2TError) else str(error)
            self._report_unstated(said or type(error).__name__)
            return None
        self.report(rule_sentence(rule))
        return rule

    def _unasked(self, bundle: Bundle) -> Bundle:
        """A bundle whose manifest states the question that its source's does, and no other."""
        if self.options.question is None:
            return bundle
        stated = open_bundle(self.source.path, verify=False).manifest
        manifest = bundle.manifest.replace(question=stated.question, tasks=stated.tasks)
        write_manifest(bundle.path, manifest)
        return open_bundle(bundle.path, verify=False)

    def _report_unstated(self, reason: str) -> None:
        if reason or UNSURE_NAME in self.source.manifest.files:
            why = f": {reason}" if reason else ""
            self.report(f"the bundle states no threshold for unsure cells{why}")

    def _plan(self, chosen: ChosenCells) -> CalibrationPlan:
        options = self.options
        if options.precision.is_weight_only:
            self.report("looking at the weights")
            return plan_weights(self.source, options.precision)
        if self.source.manifest.joint_space is not None:
            self.report("the text tower stays float32: it reads each text of a search once")
        self.report("collecting ranges of activations")
        plan = make_plan(
            TappedSystem(self.source, threads=options.threads),
            chosen.cells,
            estimator=options.estimator,
            smooth=options.smooth,
            seed=options.seed,
            float_prefix=options.float_prefix,
        )
        if (stays := prefix_report(plan.prefix)) is not None:
            self.report(stays.sentence)
        elif options.float_prefix:
            problem = "the prompts of these cells begin with nothing that could stay float32"
            raise CalibrationError(problem, hint="leave --float-prefix out")
        return plan

    def _rank(self, plan: CalibrationPlan, chosen: ChosenCells) -> Sequence[Sensitivity]:
        """All linears, the most sensitive first."""
        options, ranked = self.options, rank(plan.reports)
        worst = linears_to_measure(self.source, options.divergence_linears)
        if worst == 0:
            return ranked
        count = "all" if worst is None else worst
        self.report(f"measuring the sensitivity of {count} linear layers")
        return measure_divergence(
            self.source,
            plan.recipes,
            ranked,
            chosen.cells,
            worst=worst,
            scratch=options.output.resolve().parent,
            threads=options.threads,
            prefix=plan.prefix,
        )


def _golden(source: Bundle) -> GoldenCells | GoldenVectors:
    """What a bundle expects of itself."""
    return source.golden if source.manifest.has_decoder else read_golden_vectors(source)


def _write_golden(
    bundle: Bundle, golden: GoldenCells | GoldenVectors, *, threads: int | None
) -> str:
    """Describe the golden cells with a quantised bundle, and write its texts as the expected ones.

    `c2t verify` asks whether a bundle works on another machine as it did where it was made. The
    texts of a quantised bundle may differ from PyTorch's, so its own texts are expected; and its
    own vectors where it writes none.

    Args:
        bundle: The quantised bundle.
        golden: What the float32 bundle expects.
        threads: Threads of the engines; None: all cores.

    Returns:
        How many are the same, in words.

    Raises:
        CalibrationError: A golden cell cannot be described any more.
    """
    if isinstance(golden, GoldenVectors):
        own = golden_vectors_of(bundle, golden)
        (bundle.path / GOLDEN_VECTORS).write_bytes(json_bytes(own))
        return f"{len(own.cells)} golden cells have vectors of this bundle's own"
    chunk = EncodedCells.of_tokens([cell.gene_tokens for cell in golden.cells])
    describer = Describer(bundle, DescribeOptions(threads=threads, engine="cpu"))
    cells = []
    with progress_bar("golden cells", len(golden.cells), unit="cells") as advance:
        for cell, description in zip(golden.cells, describer.describe([chunk]), strict=True):
            if description.text is None:
                problem = f"a golden cell cannot be described any more: {description.error}"
                raise CalibrationError(problem, hint="run `c2t verify` on the bundle")
            cells.append(replace(cell, token_ids=description.tokens, text=description.text))
            advance(1)
    (bundle.path / GOLDEN_NAME).write_bytes(json_bytes(GoldenCells(cells=tuple(cells))))
    kept = sum(a.token_ids == b.token_ids for a, b in zip(golden.cells, cells, strict=True))
    return f"{kept} of {len(golden.cells)} golden cells keep their text"


def _kernels(
    bundle: Bundle, trials: Trials, left_out: int, cell: CalibrationCell
) -> tuple[KernelReport, ...]:
    """The kernels that ONNX Runtime runs for the quantised linears of each graph."""
    inputs = example_inputs(bundle, cell)
    recipes = trials.recipes(left_out)
    reports = []
    with progress_bar("kernels", len(inputs), unit="graphs") as advance:
        for name, given in inputs.items():
            quantised = [
                linear
                for linear, recipe in recipes[name].linears.items()
                if recipe.precision is not Precision.fp32
            ]
            reports.append(profile_kernels(bundle.file(name), given, quantised))
            advance(1)
    return tuple(reports)
