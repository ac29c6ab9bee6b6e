"""The command line: one function a command, each of which imports its stage when it runs.

Data goes to standard output, everything else to standard error; `c2t.runtime.command_line.run`
tells of errors and exit codes.
"""

from __future__ import annotations

import enum
import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

import c2t
from c2t.calibration.commands.calibrate import calibrate
from c2t.calibration.commands.evaluate import evaluate
from c2t.export.command import export
from c2t.runtime.command_line.options import EngineName, EngineOption, GeneColumnOption, LayerOption
from c2t.runtime.command_line.run import (
    UsageError,
    add_command,
    import_stage,
    open_checked,
    print_json,
    run_app,
    say,
)
from c2t.runtime.commands.bench import bench
from c2t.runtime.commands.build import build
from c2t.runtime.system.errors import C2TError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # Rich help would cost more time than all the rest of `c2t --help`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Single cells in, descriptions in words out. Nothing is ever sent anywhere.",
)


class Values(enum.StrEnum):
    """What the values of a matrix can be said to be."""

    auto = "auto"
    counts = "counts"
    log1p = "log1p"
    normalized = "normalized"


def main() -> None:
    """Run the command line."""
    run_app(app)


_command = functools.partial(add_command, app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"c2t {c2t.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
) -> None:
    pass


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@_command
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the bundle and the results.")
    ] = Path("c2t-demo"),
    force: ForceOption = False,
) -> None:
    """Describe 700 real blood cells, with a small model.

    Exports the trained model that comes along, checks it, and describes cells it never saw.
    """
    stage = import_stage("c2t.examples.demo.describe_pbmc")
    print(stage.run_demo(output, force=force, report=say), end="")


_command(export)


@_command
def describe(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS.h5ad", help="The cells to describe.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .jsonl, .csv, .parquet or .h5ad; without it, JSON lines are printed.",
        ),
    ] = None,
    write_obs: Annotated[
        bool, typer.Option("--write-obs", help="Write a copy of the cells with the descriptions.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first cells.")] = None,
    choice: Annotated[
        str | None, typer.Option("--cells", help="Only these: ids with commas, or a file of them.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run left.")
    ] = False,
    layer: LayerOption = None,
    counts_are: Annotated[
        Values, typer.Option(help="What its values are; auto looks at them.")
    ] = Values.auto,
    gene_column: GeneColumnOption = None,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of the genes that must be known.")
    ] = 0.1,
    filter_pass: Annotated[
        bool, typer.Option(help="Leave out cells whose obs filter_pass is not 1.")
    ] = True,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest text, in tokens.")
    ] = None,
    num_beams: Annotated[int | None, typer.Option(min=1, help="1 is greedy search.")] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(min=0, help="Size of n-grams that may not repeat; 0: off.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; all cores if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells written at the same time.")] = 8,
    drafts: Annotated[
        bool, typer.Option(help="Guess phrases and verify them: the same texts, sooner.")
    ] = True,
    prepack: Annotated[
        bool | None,
        typer.Option(
            help="Copy the weights at opening: faster, twice the memory. Else only small graphs'."
        ),
    ] = None,
    engine: EngineOption = EngineName.auto,
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
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.cells.reader import CellOptions
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.output.describe_file import DescribeFileOptions, check_paths, describe_file

    options = DescribeFileOptions(
        cells=cells,
        output=output,
        write_obs=write_obs,
        force=force,
        restart=restart,
        profile=profile,
        reading=CellOptions(
            layer=layer,
            values=counts_are.value,
            gene_column=gene_column,
            min_coverage=min_coverage,
            cells=None if choice is None else read_ids(choice),
            limit=limit,
            filter_pass=filter_pass,
        ),
        describing=DescribeOptions(
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            no_repeat_ngram_size=no_repeat_ngram_size,
            threads=threads,
            batch_size=batch_size,
            drafts=drafts,
            prepack=prepack,
            engine=engine.value,
        ),
    )
    check_paths(options)  # before the gigabytes of a bundle are hashed
    opened = open_checked(bundle)
    done = describe_file(opened, options, stream=sys.stdout.buffer, report=say)
    if json:
        print_json(done)
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    where = f": {', '.join(done.outputs)}" if done.outputs else ""
    say(f"described {done.cells:,} cells{failed}, in {done.seconds:.1f} s{where}")


_command(calibrate)
_command(build)
_command(evaluate)
_command(bench)


@_command
def verify(
    bundle: BundleArgument, engine: EngineOption = EngineName.auto, json: JsonOption = False
) -> None:
    """Check that a bundle works here as it should.

    Compares the hash of every file, and describes the bundle's golden cells again: their texts
    must be those written with the bundle. Fails if anything differs.
    """
    from c2t.runtime.describe import verify as stage

    found = stage.verify_golden_cells(open_checked(bundle), engine.value)
    if json:
        print_json(found)
    else:
        print(f"{found.files} files are as written (SHA-256)")
        equal = found.cells - len(found.differences)
        print(f"{equal} of {found.cells} golden cells have the expected text ({found.engine})")
    for difference in found.differences:
        say(f"cell {difference.cell} differs from text token {difference.first_token} on:")
        say(f"  expected: {difference.expected}\n  found:    {difference.found}")
    if found.differences:
        problem = f"{len(found.differences)} of {found.cells} golden cells have another text"
        raise C2TError(problem, hint="run `c2t doctor`; the files are right, the engine is not")


@_command
def info(
    bundle: BundleArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file's hash.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a bundle is and holds."""
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.commands import info as stage
    from c2t.runtime.system.text_tables import render

    opened = open_checked(bundle) if verify else open_bundle(bundle, verify=False)
    found = stage.bundle_info(opened, files_checked=verify)
    if json:
        print_json(found)
    else:
        print(render(stage.sections(found)), end="")


@_command
def doctor(json: JsonOption = False) -> None:
    """Show what is installed and would run here.

    For every engine that would not run, the reasons. Fails if no cell could be described here.
    """
    from c2t.runtime.commands import doctor as stage
    from c2t.runtime.system.text_tables import render

    found = stage.diagnose()
    if json:
        print_json(found)
    else:
        print(render(stage.sections(found)), end="")
    if found.problems:
        raise typer.Exit(1)
