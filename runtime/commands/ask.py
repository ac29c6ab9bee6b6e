"""`c2t ask`: a question about each cell of a file, or about each group of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    CELLS_HELP,
    BatchSizeOption,
    BundleArgument,
    CellChoiceOption,
    EngineOption,
    ForceOption,
    JsonOption,
    LimitOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import UsageError, hash_progress, print_json, say
from c2t.runtime.command_line.text_options import TextOptions
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.words import counted


@takes_option_classes()
def ask(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="What to ask.  [default: the bundle's own, if it has one]"
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write: .jsonl, .json or .csv."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|leiden",
            help="Ask about groups: a column of obs; leiden, where obs has none of that name: "
            "clusters of the embedding.",
        ),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(help="Of leiden; more gives more and smaller groups.  [default: 2.5]"),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Labels to choose from, a line each, where the prompt lists them."
        ),
    ] = None,
    limit: LimitOption = None,
    choice: CellChoiceOption = None,
    reading: ReadingOptions,
    text: TextOptions,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    audit: AuditOptions,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Ask a question about each cell, or about each group of cells.

    Bundles answer questions whose prompt has a place for one: `c2t info` says which can. Each
    answer comes with its question, its settings and, where tokens were drawn, its seed.
    """
    if json and output is None:
        problem = "--json prints the summary, but the answers are printed already"
        raise UsageError(problem, hint="name a file with -o")
    if resolution is not None and group_by is None:
        problem = "--resolution is about groups"
        raise UsageError(problem, hint="add --group-by leiden")
    from c2t.runtime.ask.ask_file import AskFileOptions, ask_file, check_paths, refuse_if_all_failed
    from c2t.runtime.ask.label_lines import read_label_lines
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.describe.question import Question, own_question
    from c2t.runtime.groups.options import GroupOptions

    groups = None
    if group_by is not None:
        groups = GroupOptions(by=group_by, resolution=resolution, text=False)
    choose_from = () if labels is None else read_label_lines(labels)
    options = AskFileOptions(
        cells=cells,
        question=Question(text=question or "", labels=choose_from),
        output=output,
        groups=groups,
        force=force,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        describing=DescribeOptions(
            **text.settings(),
            threads=threads,
            batch_size=batch_size,
            engine=engine.value,
        ),
    )
    with auditing(audit.place("ask", cells)) as trail:
        check_paths(options)
        opened = open_bundle(bundle, verify=False, trust=trust)
        done = ask_file(
            opened,
            replace(options, question=own_question(opened, question, choose_from)),
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
    say(f"asked about {counted(done.answers, 'group' if groups else 'cell')}{failed}{where}")
    if done.partly:
        rest = "answer rests" if done.partly == 1 else "answers rest"
        say(f"{counted(done.partly, 'group')} whose {rest} on some of the cells: see group_cells")
    if done.cut:
        say(f"{counted(done.cut, 'answer')} ended at the longest length: --max-new-tokens")
    refuse_if_all_failed(done, cells)
