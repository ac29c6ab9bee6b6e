"""What `c2t demo --family cellwhisperer` does: export the joint space, and search 700 blood cells.

It uses nothing but c2t's public parts, in the order in which a user would. The cells are those of
`c2t demo`; only held-out ones are searched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from c2t.examples.demo.captions import Donor, read_caption_table
from c2t.examples.demo.describe_pbmc import (
    LABEL_COLUMN,
    LABELS,
    SEED,
    WIDTH,
    pbmc_file,
    permute_genes,
)
from c2t.examples.demo.held_out import is_held_out
from c2t.examples.demo_search.assembling import assemble
from c2t.examples.demo_search.searching import Found, judge, summary
from c2t.examples.demo_search.texts import Query, read_queries
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.embedder import Embedder
from c2t.runtime.describe.searcher import Searcher, joined_scores
from c2t.runtime.system.files import write_text

NAME = "c2t-demo-search"

Report = Callable[[str], None]


def run_demo(folder: Path, *, force: bool = False, report: Report = lambda _: None) -> str:
    """Export, search and score; bundle and scores stay in `folder`.

    Args:
        folder: Where the results go; made if it is not there.
        force: Replace the results of an earlier demonstration.
        report: Called with a few words when a part of the work begins.

    Returns:
        The table to be shown.

    Raises:
        CellFileError: scanpy's cells are not installed.
        C2TError: As the stages say.
    """
    cells_file = pbmc_file()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        made = assemble(Path(place))
        checkpoint = CheckpointOptions(
            family="cellwhisperer",
            name=NAME,
            geneformer=made.geneformer,
            text_model=made.text_model,
            checkpoint=made.checkpoint,
        )
        bundle = export_bundle(
            ExportOptions(
                output=folder / "bundle", checkpoint=checkpoint, cells=cells_file, force=force
            ),
            report=report,
        )
    entry = read_caption_table().sets[LABELS]
    with open_cells(cells_file, bundle) as cells:
        labels = [entry["labels"][label] for label in cells.obs_column(LABEL_COLUMN)]
        unseen = [place for place, name in enumerate(cells.cell_ids) if is_held_out(name)]
        types = [labels[place] for place in unseen]
        queries = blood_queries(types, entry)
        words = [query.text for query in queries]
        searcher = Searcher(bundle, words, Embedder(bundle))
        report(f"searching {cells_file.name} for {len(queries)} phrases")
        scores = joined_scores(searcher.search(cells), words).scores[unseen]
        shuffled = permute_genes(cells, unseen, seed=SEED)
    with open_cells(shuffled, bundle) as control:
        permuted = joined_scores(searcher.search(control), words).scores
    results = {
        "held_out": summary(_judged(queries, scores, types, entry)),
        "control": summary(_judged(queries, permuted, types, entry)),
    }
    write_text(folder / "scores.json", json.dumps(results, indent=2) + "\n", force=True)
    return _shown(queries, _judged(queries, scores, types, entry), results) + _next_commands(
        folder, cells_file
    )


def blood_queries(types: Sequence[str], entry: dict[str, Any]) -> list[Query]:
    """The test queries that some cell is right for, and not every one."""
    donors = _donors(types, entry)
    right = {query: query.right(types, donors) for query in read_queries("test")}
    return [query for query, cells in right.items() if cells.any() and not cells.all()]


def _donors(types: Sequence[str], entry: dict[str, Any]) -> list[Donor]:
    donor = Donor(tissue=entry["tissue"], disease=entry["disease"], sex=None, age=None)
    return [donor] * len(types)


def _judged(
    queries: Sequence[Query],
    scores: np.ndarray[Any, Any],
    types: Sequence[str],
    entry: dict[str, Any],
) -> list[Found]:
    """What each query found among cells with scores [N, Q]."""
    donors = _donors(types, entry)
    return [
        judge(query, own, query.right(types, donors), types)
        for query, own in zip(queries, scores.T, strict=True)
    ]


def _shown(queries: Sequence[Query], found: Sequence[Found], results: dict[str, Any]) -> str:
    """What each phrase found, then the shares."""
    listed = Table("phrase", "right", "first cells, by the data set's label", box=SIMPLE)
    for one in found:
        first = ", ".join(f"{count} {name}" for name, count in one.first.items())
        listed.add_row(one.query, f"{one.right_of_these}/{one.looked_at}", first)
    head = (f"{len(queries)} phrases", "most of the first are right", "one is", "right of them")
    scores = Table(*head, box=SIMPLE)
    for name, part in (
        ("cells never seen in training", results["held_out"]),
        ("the same, genes permuted (control)", results["control"]),
    ):
        shares = (part["majority"], part["any"], part["precision"])
        scores.add_row(name, *(f"{share:.0%}" for share in shares))
    chance = results["held_out"]
    blind = (chance["majority_by_chance"], chance["any_by_chance"])
    scores.add_row("cells drawn blindly", *(f"{share:.0%}" for share in blind), "")
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as text:
        console.print(listed)
        console.print(scores)
    return "\n".join(line.rstrip() for line in text.get().splitlines()) + "\n"


def _next_commands(folder: Path, cells: Path) -> str:
    bundle = folder / "bundle"
    return (
        f"\nThe bundle is in {bundle}, all figures in {folder / 'scores.json'}. Next:\n"
        f"  c2t info {bundle}\n"
        f'  c2t search {bundle} {cells} "lymphocytes that make antibodies"\n'
        f'  c2t search {bundle} {cells} "killer cells" --group-by {LABEL_COLUMN}\n'
        "The model is a demonstration: draw no conclusions about cells from it.\n"
    )
