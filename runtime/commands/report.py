"""`c2t report`: its options, and what it says when it is done."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.options import ForceOption, LabelMapOption, PartOption
from c2t.runtime.command_line.run import UsageError, say
from c2t.runtime.system.progress import Advance


def report(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="What describe wrote: .h5ad, .jsonl, .csv, .parquet, .parts."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write: NAME.html.")],
    cells: Annotated[
        Path | None,
        typer.Option(
            "--cells",
            help="The file of cells, for genes, labels and places.  [default: RESULTS, if .h5ad]",
        ),
    ] = None,
    part: PartOption = None,
    labels: Annotated[
        str | None, typer.Option(help="Column of `obs` with your own labels, to compare with.")
    ] = None,
    label_map: LabelMapOption = None,
    evidence: Annotated[
        Path | None, typer.Option(help="What `c2t explain` wrote for these cells.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="NAME.groups.csv, which `describe --group-by` wrote."),
    ] = None,
    genes: Annotated[int, typer.Option(min=0, max=50, help="Top genes of a type; 0: none.")] = 10,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    force: ForceOption = False,
) -> None:
    """Make one page of descriptions, to read offline and to print.

    It shows the types with their texts, shares and genes, the cells in a picture, how your labels
    compare, and what was unsure or refused. It fetches nothing and runs no script.
    """
    from c2t.runtime.labels.label_map import cell_type_names
    from c2t.runtime.report.cells import CellsAsked
    from c2t.runtime.report.report import ReportOptions
    from c2t.runtime.report.write import WriteReportOptions, write_report
    from c2t.runtime.system.progress import progress_bar

    if label_map is not None and labels is None:
        problem = f"--label-map {label_map} says what labels mean, but no labels are compared"
        raise UsageError(problem, hint="name the column of labels: --labels COLUMN")

    def progress(label: str, total: int) -> AbstractContextManager[Advance]:
        return progress_bar(label, total, unit="cells")

    made = write_report(
        WriteReportOptions(
            results=results,
            output=output,
            force=force,
            about=ReportOptions(
                cells=CellsAsked(path=cells, part=part, labels=labels, most_genes=genes),
                label_map=None if label_map is None else cell_type_names(label_map),
                evidence=evidence,
                groups=groups,
                title=title,
            ),
        ),
        progress=progress,
    )
    say(f"wrote {output}: {len(made.results.cells):,} cells, {made.every_type:,} types")
