"""`c2t ask`: a question about each cell of a file, or about each group of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from c2t.runtime.command_line.auditing import AuditPlace, auditing
from c2t.runtime.command_line.options import (
    CELLS_HELP,
    AuditHeadOption,
    AuditKeyOption,
    AuditOption,
    AuditReasonOption,
    BatchSizeOption,
    BundleArgument,
    CellChoiceOption,
    EngineOption,
    ForceOption,
    GeneColumnOption,
    JsonOption,
    LayerOption,
    LimitOption,
    MaxNewTokensOption,
    MinCoverageOption,
    NumBeamsOption,
    OrganismOption,
    OrthologuesOption,
    PartOption,
    RepetitionPenaltyOption,
    SeedOption,
    SpeciesOption,
    StopOption,
    TemperatureOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
    TrustOption,
)
from c2t.runtime.command_line.run import UsageError, hash_progress, print_json, say
from c2t.runtime.commands.describe import Values
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.words import counted


def ask(
    bundle: BundleArgument,
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help=CELLS_HELP)],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
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
    layer: LayerOption = None,
    counts_are: Annotated[
        Values, typer.Option(help="What its values are; auto looks at them.")
    ] = Values.auto,
    gene_column: GeneColumnOption = None,
    min_coverage: MinCoverageOption = 0.1,
    organism: OrganismOption = None,
    species: SpeciesOption = None,
    orthologues: OrthologuesOption = None,
    part: PartOption = None,
    filter_pass: Annotated[
        bool, typer.Option(help="Leave out cells whose obs filter_pass is not 1.")
    ] = True,
    max_new_tokens: MaxNewTokensOption = None,
    num_beams: NumBeamsOption = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(min=0, help="Size of n-grams that may not repeat; 0: off.")
    ] = None,
    repetition_penalty: RepetitionPenaltyOption = None,
    stop: StopOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 8,
    engine: EngineOption = EngineName.auto,
    trust: TrustOption = None,
    audit: AuditOption = None,
    audit_key: AuditKeyOption = None,
    audit_head: AuditHeadOption = None,
    audit_reason: AuditReasonOption = "",
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
    from c2t.runtime.cells.options import CellOptions, read_ids
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.describe.question import Question
    from c2t.runtime.groups.options import GroupOptions

    groups = None
    if group_by is not None:
        groups = GroupOptions(by=group_by, resolution=resolution, text=False)
    options = AskFileOptions(
        cells=cells,
        question=Question(text=question, labels=() if labels is None else read_label_lines(labels)),
        output=output,
        groups=groups,
        force=force,
        reading=CellOptions(
            layer=layer,
            values=counts_are.value,
            gene_column=gene_column,
            min_coverage=min_coverage,
            organism=organism,
            species=species,
            orthologues=None if orthologues is None else str(orthologues),
            part=part,
            cells=None if choice is None else read_ids(choice),
            limit=limit,
            filter_pass=filter_pass,
        ),
        describing=DescribeOptions(
            max_new_tokens=max_new_tokens,
            num_beams=num_beams,
            no_repeat_ngram_size=no_repeat_ngram_size,
            repetition_penalty=repetition_penalty,
            stop_strings=tuple(stop) if stop else None,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            threads=threads,
            batch_size=batch_size,
            engine=engine.value,
        ),
    )
    place = AuditPlace(trail=audit, key=audit_key, head=audit_head, scope="ask", subject=str(cells))
    with auditing(place) as trail:
        check_paths(options)
        done = ask_file(
            open_bundle(bundle, verify=False, trust=trust),
            options,
            stream=sys.stdout.buffer,
            report=say,
            hash_progress=hash_progress,
            audit=trail,
            audit_reason=audit_reason,
        )
    if json:
        print_json(done)
    failed = f", {done.failed:,} of them with an error" if done.failed else ""
    where = f": {', '.join(done.outputs)}" if done.outputs else ""
    say(f"asked about {counted(done.answers, 'group' if groups else 'cell')}{failed}{where}")
    if done.cut:
        say(f"{counted(done.cut, 'answer')} ended at the longest length: --max-new-tokens")
    refuse_if_all_failed(done, cells)
