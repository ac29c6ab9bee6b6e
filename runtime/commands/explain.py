"""`c2t explain`: its options, and what it prints.

One decision: a person gets tables, a program lines of JSON. Which of them is asked of the terminal,
and --json settles it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    BatchSizeOption,
    BundleArgument,
    EngineOption,
    ForceOption,
    LimitOption,
    RestartOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import UsageError, open_checking, say
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.words import counted

TABLE_GENES = 20  # of a table in a terminal


@takes_option_classes()
def explain(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS.h5ad", help="The cells to explain.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .csv, .jsonl or .parquet; without it, tables are shown in a terminal, "
            "lines of JSON printed elsewhere.",
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option("--cells", help="Only these: ids with commas, or a file of them."),
    ] = None,
    limit: LimitOption = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of `obs`: markers of each of its groups."),
    ] = None,
    per_group: Annotated[int, typer.Option(min=1, help="Random cells of a group.")] = 20,
    field: Annotated[
        str, typer.Option(help="What the words say: cell_type, tissue, disease, ...")
    ] = "cell_type",
    label: Annotated[
        str | None,
        typer.Option(help="Evidence for another name than the one written, such as 'B cell'."),
    ] = None,
    runs: Annotated[
        int, typer.Option(help="Most runs of a cell; one with fewer genes has each left out.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of the random genes, and the cells of groups.")] = 0,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only the strongest genes.  [default: 20 in tables]")
    ] = None,
    restart: RestartOption = False,
    reading: ReadingOptions,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    audit: AuditOptions,
    force: ForceOption = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print lines of JSON in a terminal, too.")
    ] = False,
) -> None:
    """Find the genes that the words of a cell's text rest on.

    Genes are left out, and the words scored again: their effect beyond that of any gene at their
    rank. `evidence` is in natural log probability; "for" the words where they lose by it. With -o,
    run the same command again after an interruption: it goes on from there.
    """
    if not choice and limit is None and group_by is None:
        from c2t.runtime.bundle.bundle import open_bundle
        from c2t.runtime.bundle.tasks import EXPLAIN

        # Nobody is asked which cells where the bundle can explain none.
        open_bundle(bundle, verify=False).manifest.need_task(EXPLAIN)
        problem = f"which cells? Each takes up to {runs} runs of the model"
        raise UsageError(problem, hint="choose some with --cells, --limit or --group-by")
    if choice is not None and len(choice) > 1:
        problem = f"--cells is given {len(choice)} times"
        raise UsageError(problem, hint="give one list, ids with commas, or a file of them")
    if json and output is not None:
        problem = "--json prints what is found, but -o writes it to a file"
        raise UsageError(problem, hint="leave one of them out")
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.explain.options import ExplainOptions
    from c2t.runtime.output.evidence.explain_file import (
        ExplainFileOptions,
        check_explain_paths,
        explain_file,
    )
    from c2t.runtime.output.evidence.files import json_line
    from c2t.runtime.output.evidence.rows import Evidence
    from c2t.runtime.output.evidence.tables import evidence_table
    from c2t.runtime.system.errors import CellFileError

    ids = None if not choice else read_ids(choice[0])
    if ids is not None and len(set(ids)) < len(ids):
        twice = next(name for place, name in enumerate(ids) if name in ids[:place])
        problem = f"cell {twice!r} is asked for twice"
        raise CellFileError(problem, hint="name each cell once")
    options = ExplainFileOptions(
        cells=cells,
        output=output,
        force=force,
        restart=restart,
        group_by=group_by,
        per_group=per_group,
        top=top,
        reading=reading.cell_options(cells=ids, limit=limit),
        describing=DescribeOptions(threads=threads, batch_size=batch_size, engine=engine.value),
        explaining=ExplainOptions(field=field, label=label, runs=runs, seed=seed),
    )
    tables = output is None and not json and sys.stdout.isatty()
    shown = False

    def pass_on(evidence: Evidence) -> None:
        nonlocal shown
        if not tables:
            sys.stdout.buffer.write(json_line(evidence, top))
            sys.stdout.flush()
            return
        print(("\n" if shown else "") + evidence_table(evidence, top or TABLE_GENES), end="")
        sys.stdout.flush()
        shown = True

    with auditing(audit.place("explain", cells)) as trail:
        check_explain_paths(options)  # before the gigabytes of a bundle are hashed
        done = explain_file(
            open_checking(bundle, trust),
            options,
            pass_on=pass_on,
            report=say,
            progress=output is not None or not sys.stdout.isatty(),
            audit=trail,
            audit_reason=audit.audit_reason,
        )
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    groups = f" of {counted(done.groups, 'group')}" if done.groups else ""
    where = f": {', '.join(done.outputs)}" if done.outputs else ""
    runs_done = counted(done.runs, "run")
    say(f"explained {counted(done.cells, 'cell')}{groups}{failed}, with {runs_done}{where}")
    if done.failed == done.cells:
        problem = f"no cell of {cells} could be explained: {done.error}"
        raise CellFileError(problem, hint="look at their texts with `c2t describe`")
