"""`c2t embed`: its options, and what it says when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


@takes_option_classes()
def embed(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write .npz, .parquet or .h5ad (its obsm).")
    ],
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
    """Write a vector of each cell: the encoder's, and that in the joint space where there is one.

    The encoder's is the mean of its output over the genes of the cell, for neighbours and clusters.
    A vector of the joint space can be compared with texts. It runs on the CPU.
    """
    from c2t.runtime.cells.options import read_ids
    from c2t.runtime.describe.embedder import EmbedOptions
    from c2t.runtime.search.embed_file import EmbedFileOptions, check_paths, embed_file

    options = EmbedFileOptions(
        cells=cells,
        output=output,
        force=force,
        reading=reading.cell_options(
            cells=None if choice is None else read_ids(choice), limit=limit
        ),
        embedding=EmbedOptions(threads=threads, batch_size=batch_size),
    )
    with auditing(audit.place("embed", cells)) as trail:
        check_paths(options)  # before the gigabytes of a bundle are hashed
        opened = open_checking(bundle, trust)
        done = embed_file(opened, options, report=say, audit=trail, audit_reason=audit.audit_reason)
    if json:
        print_json(done)
    failed = f", {done.failed:,} of them with an error ({done.error})" if done.failed else ""
    space = f" and {done.joint_size:,} in the joint space" if done.joint_size else ""
    say(
        f"embedded {counted(done.cells, 'cell')}{failed}: {done.size:,} numbers of the encoder"
        f"{space}, in {done.seconds:.1f} s: {done.output}"
    )
