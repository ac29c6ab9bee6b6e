"""`c2t search`: its options, and the tables of what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2t.runtime.command_line.auditing import AuditOptions, auditing
from c2t.runtime.command_line.option_classes import takes_option_classes
from c2t.runtime.command_line.options import (
    CELLS_HELP,
    BundleArgument,
    CellChoiceOption,
    ForceOption,
    JsonOption,
    LimitOption,
    ThreadsOption,
    TrustOption,
)
from c2t.runtime.command_line.reading_options import ReadingOptions
from c2t.runtime.command_line.run import open_checking, print_json, say
from c2t.runtime.system.words import counted

if TYPE_CHECKING:
    from c2t.runtime.search.search_file import Found

SHOWN = 200  # letters of a text above its tables


@takes_option_classes()
def search(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT...", help="What to look for, in words; several may be given."),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write every cell's scores: .h5ad (a column of obs a text), .csv, .parquet or "
            ".jsonl.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Score the groups of this column of obs, too."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Cells and groups listed for each text.")] = 10,
    limit: LimitOption = None,
    choice: CellChoiceOption = None,
    reading: ReadingOptions,
    threads: ThreadsOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells encoded at the same time.")] = 8,
    trust: TrustOption = None,
    audit: AuditOptions,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Find the cells that a text speaks of, in a joint space of cells and texts.

    Needs a bundle with such a space, such as CellWhisperer's. A group's score is that of the mean
    of its cells' vectors. It runs on the CPU.
    """
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.embedder import EmbedOptions
    from c2t.runtime.search.search_file import SearchFileOptions, check_paths, search_file

    options = SearchFileOptions(
        cells=cells,
        queries=tuple(texts),
        output=output,
        group_by=group_by,
        top=top,
        force=force,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        embedding=EmbedOptions(threads=threads, batch_size=batch_size),
    )
    with auditing(audit.place("search", cells)) as trail:
        check_paths(options)  # before the gigabytes of a bundle are hashed
        opened = open_checking(bundle, trust)
        done = search_file(
            opened, options, report=say, audit=trail, audit_reason=audit.audit_reason
        )
    if json:
        print_json(done)
    else:
        print("\n".join(map(_shown, done.found)), end="")
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    where = f": {done.output}" if done.output else ""
    say(f"searched {counted(done.cells, 'cell')}{failed}, in {done.seconds:.1f} s{where}")


def _shown(found: Found) -> str:
    """The best groups and cells of a text, as tables."""
    from c2t.runtime.system.text_tables import table, visible

    text = visible(" ".join(found.query.split()))
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}..."
    parts = [f"{text}\n"]
    if found.groups is not None:
        rows: list[tuple[str, ...]] = [
            (group.group, f"{group.score:.4f}", f"{group.cells:,}") for group in found.groups
        ]
        parts.append(table(("group", "score", "cells"), rows))
    grouped = found.groups is not None
    head = ("cell", "score", *(("group",) if grouped else ()))
    listed: list[tuple[str, ...]] = [
        (c.cell, f"{c.score:.4f}", *((c.group or "",) if grouped else ())) for c in found.cells
    ]
    parts.append(table(head, listed))
    return "\n".join(parts)
