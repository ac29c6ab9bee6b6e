"""`c2t annotate`: its options, and what it says when it is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    CELLS_HELP,
    BundleArgument,
    CellChoiceOption,
    EngineOption,
    ForceOption,
    JsonOption,
    LabelMapOption,
    LimitOption,
    OntologyOption,
    RestartOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import UsageError, hash_progress, print_json, say
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.words import counted


@takes_option_classes()
def annotate(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    *,
    labels: Annotated[
        str,
        typer.Option(
            metavar="FILE|TERM",
            help="A label a line, a .csv with a column called label (and id), or a term such as "
            "CL:0000542: it and all below it, which needs --ontology FILE or the package "
            "cellxgene-ontology-guide.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .jsonl, .csv, .parquet or .h5ad; without it, JSON lines are printed.",
        ),
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(help="Also write the probability of every label: .csv or .parquet."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Most probable labels of each cell.")] = 3,
    ontology: OntologyOption = None,
    label_template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Of a bundle with a joint space: the sentence that a label is read in, such as "
            "'a sample of {label} from blood'.  [default: {label}]",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Use a temperature that was fitted and saved before.")
    ] = None,
    calibrate_on: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Fit a temperature on cells whose label stands in this column."
        ),
    ] = None,
    label_map: LabelMapOption = None,
    save_calibration: Annotated[
        Path | None, typer.Option(help="Write the fitted temperature, for other files of cells.")
    ] = None,
    limit: LimitOption = None,
    choice: CellChoiceOption = None,
    restart: RestartOption = False,
    reading: ReadingOptions,
    threads: ThreadsOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells scored at the same time.")] = 8,
    prepack: Annotated[
        bool | None,
        typer.Option(
            help="Copy the weights at opening: faster. ONNX Runtime then holds them twice, our "
            "kernels once. Else by size and free memory."
        ),
    ] = None,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    audit: AuditOptions,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Compare given labels for each cell: how probable each is.

    The decoder reads every label where its captions name the cell type. A bundle without one
    compares them in its joint space, where the mass is always 1. Of each cell: the most
    probable labels, their probabilities among all that were given, and the mass that the model
    gives to all of them together. A small mass says that none may be right. With -o, run the same
    command again after an interruption: it goes on from there.
    """
    for given, needed, names in (
        (save_calibration, calibrate_on, "--save-calibration needs --calibrate-on"),
        (label_map, calibrate_on, "--label-map needs --calibrate-on"),
    ):
        if given is not None and needed is None:
            raise UsageError(names, hint="name the column with the true labels of the cells")
    if calibration is not None and calibrate_on is not None:
        problem = "--calibration uses a temperature, and --calibrate-on fits another"
        raise UsageError(problem, hint="leave one of them out")
    if json and output is None:
        problem = "--json prints the summary, but the labels are printed already"
        raise UsageError(problem, hint="name a file with -o")
    from c2t.runtime.annotate.annotate_file import (
        AnnotateFileOptions,
        annotate_file,
        check_paths,
        refuse_if_all_failed,
    )
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.annotator import AnnotateOptions

    options = AnnotateFileOptions(
        cells=cells,
        labels=labels,
        ontology=ontology,
        output=output,
        matrix=matrix,
        top=top,
        calibration=calibration,
        calibrate_on=calibrate_on,
        label_map=label_map,
        save_calibration=save_calibration,
        force=force,
        restart=restart,
        label_template=label_template,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        annotating=AnnotateOptions(
            threads=threads, batch_size=batch_size, prepack=prepack, engine=engine.value
        ),
    )
    with auditing(audit.place("annotate", cells)) as trail:
        check_paths(options)  # before the gigabytes of a bundle are hashed
        done = annotate_file(
            open_bundle(bundle, verify=False, trust=trust),
            options,
            stream=sys.stdout.buffer,
            report=say,
            hash_progress=hash_progress,
            audit=trail,
            audit_reason=audit.audit_reason,
        )
    if json:
        print_json(done)
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    where = f": {', '.join(done.outputs)}" if done.outputs else ""
    say(f"annotated {counted(done.cells, 'cell')}{failed}, in {done.seconds:.1f} s{where}")
    refuse_if_all_failed(done, cells)
