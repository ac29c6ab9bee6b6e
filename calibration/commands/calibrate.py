"""`c2t calibrate`: its options; nothing that takes long to load before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2t.calibration.quantise.estimator import Estimator
from c2t.calibration.results.gate import Tolerance
from c2t.runtime.bundle.precision import QUANTISED, Precision
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    AccuracyToleranceOption,
    ForceOption,
    JsonOption,
    LabelMapOption,
    LeastAgreementOption,
    OntologyOption,
    QuestionOption,
    SimilarityToleranceOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import import_stage, print_json, say


def _quantised(value: str) -> Precision:
    """A precision that a bundle can be calibrated to."""
    if value in QUANTISED:
        return Precision(value)
    message = f"{value!r} is not one of {', '.join(repr(str(name)) for name in QUANTISED)}."
    raise typer.BadParameter(message)


@takes_option_classes(without=("counts_are", "filter_pass"))
def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A float32 bundle.")],
    cells: Annotated[
        Path, typer.Argument(metavar="CELLS", help="Cells like those to be described.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    *,
    precision: Annotated[
        Precision,
        typer.Option(
            parser=_quantised,
            metavar=f"<{'|'.join(QUANTISED)}>",
            help="int8 is fastest; -weights keeps activations float32.",
        ),
    ] = Precision.int8,
    cells_count: Annotated[int, typer.Option(min=1, help="Cells to calibrate on.")] = 256,
    gate_cells: Annotated[int, typer.Option(min=1, help="Cells to hold out and judge by.")] = 256,
    label_column: Annotated[
        str | None, typer.Option(help="Column of cell types.  [default: cell_type, if there]")
    ] = None,
    label_map: LabelMapOption = None,
    ontology: OntologyOption = None,
    estimator: Annotated[
        Estimator, typer.Option(help="How the ranges of activations are found.")
    ] = Estimator.mse,
    smooth: Annotated[
        bool, typer.Option(help="Move outliers of activations into the weights (SmoothQuant).")
    ] = True,
    float_prefix: Annotated[
        bool | None,
        typer.Option(
            help="int8: keep keys and values of what all prompts begin with in float32.  "
            "[default: where its activations are far larger than the cells']",
        ),
    ] = None,
    accuracy_tolerance: AccuracyToleranceOption = 100 * Tolerance.accuracy,
    similarity_tolerance: SimilarityToleranceOption = 100 * Tolerance.similarity,
    least_agreement: LeastAgreementOption = 100 * Tolerance.agreement,
    unsure_target: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            help="Right ones among cells that are not unsure, in percent; fitted on the labels of "
            "the held-out cells.",
        ),
    ] = 95,
    divergence_products: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Linear layers whose own effect on the texts is measured.  "
            "[default: all of a small model, 8 of a large one]",
        ),
    ] = None,
    question: QuestionOption = None,
    reading: ReadingOptions,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of cells.")] = 0,
    threads: ThreadsOption = None,
    trust: TrustOption = None,
    force: ForceOption = False,
    force_gate: Annotated[
        bool, typer.Option("--force-gate", help="Write the bundle even if it fails the gate.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Quantise a bundle: smaller, faster, and shown to say the same.

    Ranges of activations are collected on some of the cells, the result is judged on others. When
    it falls too far behind the float32 bundle, sensitive parts stay float32; when that does not
    help, nothing is written.

    A bundle that writes no texts (CellWhisperer's joint space) is judged by the vectors of cells,
    and by which of its golden texts fits each best: --least-agreement is then of these.

    A bundle that answers questions is calibrated, and judged, by its answers to --question.

    Where the held-out cells have labels, the bundle states how likely its cell types are right,
    and below what they are unsure: see `c2t describe --unsure-below`. A float32 bundle's own
    threshold is not taken over, for to quantise changes how sure a model is.
    """
    stage = import_stage("c2t.calibration.calibrate", extra="calibrate")
    from c2t.calibration.calibrate_options import CalibrateOptions
    from c2t.calibration.checks import check_options
    from c2t.runtime.bundle.bundle import open_bundle

    options = CalibrateOptions(
        cells=cells,
        output=output,
        precision=precision,
        cells_count=cells_count,
        gate_cells=gate_cells,
        label_column=label_column,
        label_map=label_map,
        ontology=ontology,
        estimator=estimator,
        smooth=smooth,
        float_prefix=float_prefix,
        tolerance=Tolerance.of_percent(
            accuracy=accuracy_tolerance,
            similarity=similarity_tolerance,
            agreement=least_agreement,
        ),
        unsure_target=unsure_target / 100,
        divergence_linears=divergence_products,
        seed=seed,
        threads=threads,
        question=question,
        reading=reading.cell_options(),
        force=force,
        force_gate=force_gate,
    )
    check_options(options)
    source = open_bundle(bundle, verify=False, trust=trust)
    done = stage.calibrate_bundle(source, options, verify=True, report=say)
    if json:
        print_json(done)
    share = 100 * done.bytes / done.source_bytes
    left = f"{len(done.left_out)} linear layers left in float32"
    say(f"wrote {output}: {share:.0f} % of the size, {left}")
