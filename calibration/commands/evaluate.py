"""`c2t evaluate`: its options; nothing that takes long to load before the command runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.calibration.results.gate import Tolerance
from c2t.runtime.command_line.options import (
    AccuracyToleranceOption,
    BatchSizeOption,
    CellChoiceOption,
    EngineOption,
    ForceOption,
    GeneColumnOption,
    JsonOption,
    LabelMapOption,
    LayerOption,
    LeastAgreementOption,
    LimitOption,
    MaxNewTokensOption,
    MinCoverageOption,
    NumBeamsOption,
    OntologyOption,
    OrganismOption,
    OrthologuesOption,
    PartOption,
    SimilarityToleranceOption,
    SpeciesOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.run import UsageError, hash_progress, import_stage, print_json, say
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.errors import EvaluationError

if TYPE_CHECKING:
    from c2t.calibration.evaluate.evaluate_options import EvaluateOptions


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to judge.")],
    cells: Annotated[
        Path, typer.Argument(metavar="LABELLED.h5ad", help="Cells with their labels in `obs`.")
    ],
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
    layer: LayerOption = None,
    gene_column: GeneColumnOption = None,
    min_coverage: MinCoverageOption = 0.1,
    organism: OrganismOption = None,
    species: SpeciesOption = None,
    orthologues: OrthologuesOption = None,
    part: PartOption = None,
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
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Judge a bundle's texts on labelled cells.

    In the paper's own figures: accuracy and macro figures of the labels that the texts name,
    ontology similarity, BLEU and ROUGE where there are reference captions. Against another bundle
    also how far the two agree.
    """
    import_stage("c2t.calibration.evaluate.evaluate", extra="evaluate")
    from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
    from c2t.calibration.metrics.bootstrap import BootstrapOptions
    from c2t.runtime.cells.options import CellOptions, read_ids
    from c2t.runtime.describe.describer import DescribeOptions

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
        reading=CellOptions(
            layer=layer,
            gene_column=gene_column,
            min_coverage=min_coverage,
            organism=organism,
            species=species,
            orthologues=None if orthologues is None else str(orthologues),
            part=part,
            limit=limit,
            cells=None if choice is None else read_ids(choice),
        ),
        describing=DescribeOptions(
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            threads=threads,
            batch_size=batch_size,
            engine=engine.value,
        ),
        bootstrap=BootstrapOptions(resamples=resamples, seed=seed),
    )
    tolerance = None
    if gate:
        if against is None:
            problem = "--gate holds a bundle against another one"
            raise UsageError(problem, hint="name the other one with --against")
        tolerance = Tolerance.of_percent(
            accuracy=accuracy_tolerance, similarity=similarity_tolerance, agreement=least_agreement
        )
    report = _Report(folder=output, force=force, json=json, tolerance=tolerance)
    _run([bundle] if against is None else [bundle, against], options, report, trust=trust)


@dataclass(frozen=True, kw_only=True)
class _Report:
    """Where the figures go, and the gate that they must pass; None: no folder, no gate."""

    folder: Path | None
    force: bool
    json: bool
    tolerance: Tolerance | None


def _run(
    paths: list[Path], options: EvaluateOptions, report: _Report, *, trust: Path | None
) -> None:
    """Judge, and show or write the figures; refuse early whatever can be refused early."""
    from c2t.calibration.evaluate.evaluate import evaluate_bundle
    from c2t.calibration.evaluate.truth import read_truth
    from c2t.calibration.report.evaluation_table import evaluation_text
    from c2t.calibration.results.gate import gate_failures
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.describe.describer import check_options

    writer = None
    if report.folder is not None:
        # Pages need Jinja, and tables for the terminal do not.
        writer = import_stage("c2t.calibration.report.evaluation_report", extra="evaluate")
        writer.check_report_target(report.folder, force=report.force)
    judged, *others = [open_bundle(path, verify=False, trust=trust) for path in paths]
    for opened in (judged, *others):
        check_options(opened, options.describing)
    truth = read_truth(options)
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
    if report.tolerance is not None:
        failures = gate_failures(evaluation, report.tolerance)
        if failures:
            problem = f"{paths[0]} does not pass the gate: {'; '.join(failures)}"
            raise EvaluationError(problem, hint="calibrate it anew, or allow more")
        say("the gate is passed")
