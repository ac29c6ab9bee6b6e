"""`c2t evaluate`: its options; nothing that takes long to load before the command runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.calibration.results.gate import Tolerance
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    AccuracyToleranceOption,
    BatchSizeOption,
    CellChoiceOption,
    EngineOption,
    ForceOption,
    JsonOption,
    LabelMapOption,
    LeastAgreementOption,
    LimitOption,
    MaxNewTokensOption,
    NumBeamsOption,
    OntologyOption,
    QuestionOption,
    SimilarityToleranceOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import UsageError, hash_progress, import_stage, print_json, say
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.errors import EvaluationError

if TYPE_CHECKING:
    from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
    from c2t.calibration.results.evaluation import CellRecord
    from c2t.runtime.bundle.bundle import Bundle


@takes_option_classes(without=("counts_are", "filter_pass"))
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to judge.")],
    cells: Annotated[
        Path | None,
        typer.Argument(metavar="LABELLED", help="Cells with their labels in `obs`."),
    ] = None,
    *,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ask published questions instead: a file of CellVerse (.json)."
        ),
    ] = None,
    question: QuestionOption = None,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle, judged too and compared with.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the report: figures, cells, and a page."),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of cell types.  [default: cell_type]")
    ] = None,
    tissue_column: Annotated[
        str | None, typer.Option(help="Column of tissues.  [default: tissue, if there]")
    ] = None,
    disease_column: Annotated[
        str | None, typer.Option(help="Column of diseases.  [default: disease, if there]")
    ] = None,
    sex_column: Annotated[
        str | None, typer.Option(help="Column of sexes.  [default: sex, if there]")
    ] = None,
    age_column: Annotated[
        str | None, typer.Option(help="Column of ages.  [default: development_stage, if there]")
    ] = None,
    label_map: LabelMapOption = None,
    propose_label_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a proposed label map to look at and edit: .tsv or .csv."
        ),
    ] = None,
    ontology: OntologyOption = None,
    uberon: Annotated[Path | None, typer.Option(help="The same for tissues.")] = None,
    mondo: Annotated[Path | None, typer.Option(help="The same for diseases.")] = None,
    references: Annotated[
        Path | None, typer.Option(help="Reference captions: .jsonl or .csv with cell and text.")
    ] = None,
    captions_column: Annotated[
        str | None, typer.Option(help="Column of `obs` with reference captions.")
    ] = None,
    bert_model: Annotated[
        Path | None, typer.Option(help="Folder of a model for BERTScore; nothing is fetched.")
    ] = None,
    limit: LimitOption = None,
    choice: CellChoiceOption = None,
    reading: ReadingOptions,
    max_new_tokens: MaxNewTokensOption = None,
    num_beams: NumBeamsOption = None,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    resamples: Annotated[
        int, typer.Option(min=2, help="Bootstrap resamples for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    gate: Annotated[
        bool, typer.Option("--gate", help="Fail if the bundle is worse than --against allows.")
    ] = False,
    accuracy_tolerance: AccuracyToleranceOption = 100 * Tolerance.accuracy,
    similarity_tolerance: SimilarityToleranceOption = 100 * Tolerance.similarity,
    least_agreement: LeastAgreementOption = 100 * Tolerance.agreement,
    fit_unsure: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW_BUNDLE",
            help="Write a copy of BUNDLE that states how likely a cell type is right, fitted on "
            "these cells, and below what it is unsure.",
        ),
    ] = None,
    unsure_target: Annotated[
        float,
        typer.Option(min=0, max=100, help="Right ones among cells that are not unsure, percent."),
    ] = 95,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Judge a bundle's texts on labelled cells.

    In the paper's own figures: accuracy and macro figures of the labels that the texts name,
    ontology similarity, BLEU and ROUGE where there are reference captions. Against another bundle
    also how far the two agree.

    Labels that the texts name otherwise ("CD14+ Mono") count as wrong until --label-map says what
    they mean. --propose-label-map writes a proposal with its evidence; nothing of it is used
    before you give it back.

    The confidence of the cell types is judged too. --fit-unsure makes it a probability of being
    right, with a threshold for `c2t describe --unsure-below auto`. Fit on cells that the model was
    not trained on, and quote figures of others. The new bundle has to be signed anew.

    A bundle that answers questions is judged by its answers to --question. --questions asks the
    questions of a file instead; the decoder compares their options.
    """
    if (cells is None) == (questions is None):
        problem = "a bundle is judged on labelled cells, or with --questions on a file of questions"
        raise UsageError(problem, hint="give one of them")
    if question is not None and questions is not None:
        problem = "--question asks about each labelled cell, --questions what a file asks"
        raise UsageError(problem, hint="leave one of them out")
    if label_map is not None and propose_label_map is not None:
        problem = "--label-map uses a map, and --propose-label-map proposes one from nothing"
        raise UsageError(problem, hint="leave one of them out")
    import_stage("c2t.calibration.evaluate.evaluate", extra="evaluate")
    from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
    from c2t.calibration.metrics.bootstrap import BootstrapOptions
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.describer import DescribeOptions

    if questions is not None:
        from c2t.calibration.commands.questions import QuestionRun, run_questions

        run_questions(
            QuestionRun(
                bundle=bundle,
                questions=questions,
                output=output,
                trust=trust,
                limit=limit,
                force=force,
                json=json,
                describing=DescribeOptions(
                    threads=threads, batch_size=batch_size, engine=engine.value, drafts=False
                ),
            )
        )
        return
    assert cells is not None
    options = EvaluateOptions(
        cells=cells,
        columns={
            "cell_type": label_column,
            "tissue": tissue_column,
            "disease": disease_column,
            "sex": sex_column,
            "age": age_column,
        },
        label_map=label_map,
        ontologies={"cell_type": ontology, "tissue": uberon, "disease": mondo},
        references=references,
        reference_column=captions_column,
        bert_model=bert_model,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        describing=DescribeOptions(
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            threads=threads,
            batch_size=batch_size,
            engine=engine.value,
        ),
        bootstrap=BootstrapOptions(resamples=resamples, seed=seed),
        propose=propose_label_map is not None,
    )
    tolerance = None
    if gate:
        if against is None:
            problem = "--gate holds a bundle against another one"
            raise UsageError(problem, hint="name the other one with --against")
        tolerance = Tolerance.of_percent(
            accuracy=accuracy_tolerance, similarity=similarity_tolerance, agreement=least_agreement
        )
    report = _Report(
        folder=output,
        proposal=propose_label_map,
        fitted=fit_unsure,
        target=unsure_target / 100,
        force=force,
        json=json,
        tolerance=tolerance,
    )
    paths = [bundle] if against is None else [bundle, against]
    _run(paths, options, report, question=question, trust=trust)


@dataclass(frozen=True, kw_only=True)
class _Report:
    """Where the results go, and the gate that they must pass; None: not wanted.

    Args:
        folder: Of the figures.
        proposal: File of a proposed label map.
        fitted: The bundle with a rule for unsure cells.
        target: Of that rule.
        force: Replace what is there.
        json: Print figures as JSON.
        tolerance: The gate.
    """

    folder: Path | None
    proposal: Path | None
    fitted: Path | None
    target: float
    force: bool
    json: bool
    tolerance: Tolerance | None


def _run(
    paths: list[Path],
    options: EvaluateOptions,
    report: _Report,
    *,
    question: str | None,
    trust: Path | None,
) -> None:
    """Judge, and show or write the figures; refuse early whatever can be refused early."""
    from c2t.calibration.evaluate.evaluate import evaluate_bundle
    from c2t.calibration.evaluate.truth import read_truth
    from c2t.calibration.evaluate.unsure_bundle import check_copy_target
    from c2t.calibration.evaluate.unsure_fit import check_enough
    from c2t.calibration.labels.proposal_file import check_proposal_target, write_proposal
    from c2t.calibration.report.evaluation_table import evaluation_text
    from c2t.calibration.results.gate import gate_failures
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.describe.asked_bundle import asked_bundle
    from c2t.runtime.describe.describer import check_options
    from c2t.runtime.output.not_cells import check_not_cells

    writer = None
    if report.folder is not None:
        # Pages need Jinja, and tables for the terminal do not.
        writer = import_stage("c2t.calibration.report.evaluation_report", extra="evaluate")
        writer.check_report_target(report.folder, force=report.force)
    if report.proposal is not None:
        check_not_cells(report.proposal, options.cells)
        check_proposal_target(report.proposal, force=report.force)
    bundles = [open_bundle(path, verify=False, trust=trust) for path in paths]
    if question is not None:
        bundles = [asked_bundle(opened, question) for opened in bundles]
    judged, *others = bundles
    if report.fitted is not None:
        check_copy_target(judged, report.fitted, force=report.force)
    for opened in (judged, *others):
        check_options(opened, options.describing)
    truth = read_truth(options)
    if report.fitted is not None:
        check_enough(truth)
    for opened in (judged, *others):
        with hash_progress(opened.bytes) as advance:
            opened.check_hashes(progress=advance)
    evaluation, records = evaluate_bundle(
        judged, options, truth=truth, against=others[0] if others else None, report=say
    )
    for warning in evaluation.warnings:
        say(f"warning: {warning}")
    if report.json:
        print_json(evaluation)
    else:
        print(evaluation_text(evaluation), end="", flush=True)
    if writer is not None:
        writer.write_report(report.folder, evaluation, records, force=report.force)
        say(f"wrote {report.folder}; look at {report.folder / writer.PAGE}")
    if report.proposal is not None and evaluation.proposal is not None:
        write_proposal(report.proposal, evaluation.proposal.lines, force=report.force)
        say(f"{evaluation.proposal.sentence}")
        say(f"wrote {report.proposal}: look at its lines, then give it with --label-map")
    if report.fitted is not None:
        _fit(judged, options, report, records)
    if report.tolerance is not None:
        failures = gate_failures(evaluation, report.tolerance)
        if failures:
            problem = f"{paths[0]} does not pass the gate: {'; '.join(failures)}"
            raise EvaluationError(problem, hint="calibrate it anew, or allow more")
        say("the gate is passed")


def _fit(
    bundle: Bundle, options: EvaluateOptions, report: _Report, records: list[CellRecord]
) -> None:
    """Fit a rule for unsure cells, and write the bundle that states it."""
    from c2t.calibration.evaluate.true_labels import USUAL_COLUMNS
    from c2t.calibration.evaluate.unsure_bundle import write_with_rule
    from c2t.calibration.evaluate.unsure_fit import (
        check_labels_are_named,
        fit_unsure,
        fitted_on,
        judged_cells,
        rule_sentence,
    )
    from c2t.runtime.describe.describer import generation_settings
    from c2t.runtime.describe.unsure import text_settings
    from c2t.runtime.trust.statement import SIGNATURE_NAME

    assert report.fitted is not None
    used = judged_cells(records)
    if options.label_map is None:
        check_labels_are_named(used)
    file = fitted_on(
        options.cells,
        len(used),
        column=options.columns.get("cell_type") or USUAL_COLUMNS["cell_type"],
        label_map=options.label_map,
        which=_which(options),
    )
    generation = generation_settings(bundle.manifest.generation, options.describing)
    rule = fit_unsure(
        bundle, used, [file], target=report.target, generation=text_settings(generation)
    )
    write_with_rule(bundle, report.fitted, rule, force=report.force)
    say(rule_sentence(rule))
    signed = (bundle.path / SIGNATURE_NAME).exists()
    anew = "; it is not signed as the old one is: use `c2t sign`" if signed else ""
    say(f"wrote {report.fitted}{anew}")


def _which(options: EvaluateOptions) -> str:
    """Which cells of the file were judged, in words; "" for all."""
    reading = options.reading
    words = [] if reading.cells is None else [f"{len(reading.cells):,} that were named"]
    return ", ".join(words + ([] if reading.limit is None else [f"the first {reading.limit:,}"]))
