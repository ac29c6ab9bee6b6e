"""`c2t describe`: its options, and what it says when it is done."""

from __future__ import annotations

import enum
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    LimitOption,
    RestartOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import UsageError, hash_progress, print_json, say
from c2t.runtime.command_line.text_options import TextOptions
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.words import counted

if TYPE_CHECKING:
    from c2t.runtime.groups.options import GroupOptions


class Values(enum.StrEnum):
    """What the values of a matrix can be said to be."""

    auto = "auto"
    counts = "counts"
    log1p = "log1p"
    normalized = "normalized"


@takes_option_classes()
def describe(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .jsonl, .csv, .parquet, .h5ad, or a folder of parts, NAME.parts; without "
            "it, JSON lines are printed.",
        ),
    ] = None,
    write_obs: Annotated[
        bool, typer.Option("--write-obs", help="Write a copy of the cells with the descriptions.")
    ] = False,
    cellxgene: Annotated[
        bool,
        typer.Option(
            "--cellxgene",
            help="Also write CELLxGENE's columns of ontology ids into the copy of the cells.",
        ),
    ] = False,
    replace_columns: Annotated[
        bool,
        typer.Option(
            "--replace-columns", help="Where the cells have them already, replace them in the copy."
        ),
    ] = False,
    limit: LimitOption = None,
    choice: CellChoiceOption = None,
    restart: RestartOption = False,
    reading: ReadingOptions,
    text: TextOptions,
    threads: ThreadsOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cells written at the same time.  "
            "[default: 8; on CUDA up to 128, by the GPU's free memory; 8 with --dask]",
        ),
    ] = None,
    drafts: Annotated[
        bool, typer.Option(help="Guess phrases and verify them: the same texts, sooner.")
    ] = True,
    prepack: Annotated[
        bool | None,
        typer.Option(
            help="Copy the weights at opening: faster. ONNX Runtime then holds them twice, our "
            "kernels once. Else by size and free memory."
        ),
    ] = None,
    engine: EngineOption = EngineName.auto,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEDULER",
            help="Have Dask workers describe: tcp://HOST:8786, or local[:PROCESSES] for processes "
            "of this machine.",
        ),
    ] = None,
    trust: TrustOption = None,
    audit: AuditOptions,
    unsure_below: Annotated[
        str | None,
        typer.Option(
            metavar="PROBABILITY|auto",
            help="Mark cells whose cell type is less likely right. auto: the bundle's own "
            "threshold.  [default: that, if the bundle states one]",
        ),
    ] = None,
    embedding: Annotated[
        bool,
        typer.Option(
            "--embedding",
            help="Write each cell's embedding as well: the mean of the encoder's output over the "
            "cell's highest ranks. .h5ad: obsm X_c2t, NaN for cells without one; .parquet: a "
            "column.",
        ),
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|leiden",
            help="One answer a group, in NAME.groups.csv and in the cells' output. A column of "
            "obs; leiden, where obs has none of that name: clusters of the embedding.",
        ),
    ] = None,
    min_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="A group whose most frequent cell type has less is mixed.  [default: 0.4]",
        ),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(
            help="Of leiden; more gives more and smaller groups. The seed is fixed.  [default: 2.5]"
        ),
    ] = None,
    group_text: Annotated[
        bool,
        typer.Option(
            help="Write one text a group from the mean of its cell vectors; not with --dask."
        ),
    ] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show at the end where the time went.")
    ] = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Describe each cell of a file in words.

    One record a cell. Run the same command again after an interruption: it goes on from there.
    """
    if json and output is None and not write_obs:
        problem = "--json prints the summary, but the descriptions are printed already"
        raise UsageError(problem, hint="name a file with -o")
    if dask is not None and profile:
        problem = "--profile shows where the time went here, but with --dask the work is elsewhere"
        raise UsageError(problem, hint="leave one of them out")
    if replace_columns and not cellxgene:
        problem = "--replace-columns is about the columns of --cellxgene, which was not given"
        raise UsageError(problem, hint="leave it out, or add --cellxgene")
    groups = _group_options(group_by, min_share, resolution, text=group_text)
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.batch_size import FEW_CELLS, default_batch_size
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.output.describe_file import DescribeFileOptions, check_paths, describe_file
    from c2t.runtime.system.errors import CellFileError

    options = DescribeFileOptions(
        cells=cells,
        output=output,
        write_obs=write_obs,
        cellxgene=cellxgene,
        replace_columns=replace_columns,
        force=force,
        restart=restart,
        profile=profile,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        describing=DescribeOptions(
            **text.settings(),
            threads=threads,
            batch_size=batch_size or FEW_CELLS,
            drafts=drafts,
            prepack=prepack,
            engine=engine.value,
            unsure_below=_threshold(unsure_below),
        ),
        embedding=embedding,
        groups=groups,
    )
    elsewhere = None
    if dask is not None:
        from c2t.runtime.scale_out.cluster import parse_place
        from c2t.runtime.scale_out.dask_workers import dask_workers

        elsewhere = dask_workers(parse_place(dask, engine.value), say)
    with auditing(audit.place("describe", cells)) as trail:
        check_paths(options)  # before the gigabytes of a bundle are hashed
        opened = open_bundle(bundle, verify=False, trust=trust)
        if batch_size is None and dask is None:
            size = default_batch_size(opened, options.describing)
            describing = replace(options.describing, batch_size=size)
            options = replace(options, describing=describing, least_batch_size=FEW_CELLS)
        done = describe_file(
            opened,
            options,
            stream=sys.stdout.buffer,
            report=say,
            hash_progress=hash_progress,
            audit=trail,
            audit_reason=audit.audit_reason,
            elsewhere=elsewhere,
        )
    if json:
        print_json(done)
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    where = f": {', '.join(done.outputs)}" if done.outputs else ""
    say(f"described {counted(done.cells, 'cell')}{failed}, in {done.seconds:.1f} s{where}")
    if done.without_embedding:
        count = done.without_embedding
        say(
            f"{count:,} {'cell has' if count == 1 else 'cells have'} no embedding: NaN stands there"
        )
    if done.groups:
        say(done.groups)
    if done.failed == done.cells:
        most = "all" if done.error_cells == done.cells else f"{done.error_cells:,}"
        problem = (
            f"no cell of {cells} could be described; {most} of the {done.cells:,}: {done.error}"
        )
        hint = "other counts or genes of the file are named with --layer, --counts-are and "
        raise CellFileError(problem, hint=f"{hint}--gene-column; see `c2t describe --help`")


def _group_options(
    by: str | None, min_share: float | None, resolution: float | None, *, text: bool
) -> GroupOptions | None:
    """How cells are grouped.

    Raises:
        UsageError: Options of groups without groups, or a resolution for a column.
    """
    from c2t.runtime.groups.options import LEIDEN, MIN_SHARE, GroupOptions

    given = {"--min-share": min_share, "--resolution": resolution}
    for name, value in given.items():
        if value is not None and by is None:
            problem = f"{name} is about groups, but there are none"
            raise UsageError(problem, hint="add --group-by COLUMN, or leave it out")
    if by is None:
        return None
    if resolution is not None and by != LEIDEN:
        problem = f"--resolution is about clusters that are computed, not about the column {by!r}"
        raise UsageError(problem, hint=f"pass --group-by {LEIDEN}, or leave --resolution out")
    share = MIN_SHARE if min_share is None else min_share
    return GroupOptions(by=by, min_share=share, resolution=resolution, text=text)


def _threshold(text: str | None) -> float | str | None:
    """What `--unsure-below` says.

    Raises:
        UsageError: Neither a number from 0 to 1 nor "auto".
    """
    if text is None or text == "auto":
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        problem = f"--unsure-below is {text!r}"
        raise UsageError(problem, hint='give a probability from 0 to 1, such as 0.8, or "auto"')
    return number
