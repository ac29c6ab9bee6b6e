"""What `c2t demo` does: export the demonstration model, describe 700 blood cells, score them.

It uses nothing but c2t's public parts, in the order in which a user would. The cells ship inside
scanpy's wheel (10x PBMC 68k, reduced): their raw counts are not there, only log-normalised values.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from c2t.calibration.metrics.accuracy import Accuracy, score_labels
from c2t.examples.demo.held_out import is_held_out
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.cells.reader import CellCounts, open_cells
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.model import Model
from c2t.runtime.labels.normalise import normalise_label
from c2t.runtime.output.record import make_record
from c2t.runtime.output.text_files import json_line
from c2t.runtime.system.errors import CellFileError
from c2t.runtime.system.files import write_text
from c2t.runtime.system.progress import progress_bar

HERE = Path(__file__).parent
CHECKPOINT = HERE / "checkpoint"
CHECKPOINT_OPTIONS = CheckpointOptions(folder=CHECKPOINT, name="c2t-demo")
CELLS_NAME = "10x_pbmc68k_reduced.h5ad"
# Entry of the caption table that says what each label of these cells is called in a caption.
LABELS = "pbmc68k_reduced_700x765_raw"
LABEL_COLUMN = "bulk_labels"
SEED = 7
WIDTH = 110  # of the tables, in characters

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Scores of the demonstration.

    Attributes:
        held_out: On cells that training never saw.
        control: On the same cells with permuted genes: what guessing gives.
        trained_on: On the other cells, for comparison.
    """

    held_out: Accuracy
    control: Accuracy
    trained_on: Accuracy


def run_demo(
    folder: Path,
    *,
    checkpoint: CheckpointOptions = CHECKPOINT_OPTIONS,
    force: bool = False,
    report: Report = lambda _: None,
) -> str:
    """Export, describe and score; the bundle and the descriptions stay in `folder`.

    Args:
        folder: Where the results go; made if it is not there.
        checkpoint: The model that is shown.
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
    bundle = export_bundle(
        ExportOptions(
            output=folder / "bundle",
            checkpoint=checkpoint,
            cells=cells_file,
            force=force,
        ),
        report=report,
    )
    with Model(bundle) as model, open_cells(cells_file, bundle) as cells:
        report(f"describing {cells_file.name}: {cells.counts_report.sentence}")
        described = _describe(model, cells, cells.n_cells, "describing")
        names, held_out = cells.obs_column(LABEL_COLUMN), [*map(is_held_out, cells.cell_ids)]
        unseen = [i for i, kept in enumerate(held_out) if kept]
        shuffled = permute_genes(cells, unseen, seed=SEED)
        control = _describe(model, shuffled, len(unseen), "control: genes permuted")
    lines = b"".join(json_line(make_record(row, d)) for row, d in enumerate(described))
    write_text(folder / "descriptions.jsonl", lines.decode(), force=True)

    labels = expected_labels(names)
    trained = [i for i, kept in enumerate(held_out) if not kept]
    result = DemoResult(
        held_out=_score([labels[i] for i in unseen], [described[i] for i in unseen]),
        control=_score([labels[i] for i in unseen], control),
        trained_on=_score([labels[i] for i in trained], [described[i] for i in trained]),
    )
    scores = msgspec.json.format(msgspec.json.encode(result)).decode()
    write_text(folder / "scores.json", scores, force=True)
    shown = [(names[i], described[i]) for i in unseen]
    return _shown(shown, result) + _next_commands(folder, cells_file)


def pbmc_file() -> Path:
    """The file of 700 blood cells inside scanpy's package; scanpy itself is not imported.

    Raises:
        CellFileError: scanpy is not installed, or does not bring the file.
    """
    package = importlib.util.find_spec("scanpy")
    for place in (package.submodule_search_locations or ()) if package else ():
        path = Path(place) / "datasets" / CELLS_NAME
        if path.is_file():
            return path
    problem = f"the demonstration's cells ({CELLS_NAME}, inside scanpy's wheel) are not here"
    raise CellFileError(problem, hint='run `pip install "c2t[demo]"`')


def expected_labels(labels: list[str]) -> list[str]:
    """The cell type that a caption should name for each label of the data set, normalised."""
    entry = json.loads((HERE / "caption_table.json").read_text(encoding="utf-8"))["sets"][LABELS]
    return [normalise_label(entry["labels"][label]) for label in labels]


def permute_genes(cells: CellCounts, chosen: list[int], *, seed: int) -> Any:
    """Move the values of each cell to random genes.

    Each cell keeps its number of genes and their values. What a model gets right then, it could
    have guessed.

    Args:
        cells: The cells of the file.
        chosen: Which of them, by position.
        seed: Of the permutations, one a cell.

    Returns:
        An AnnData of the chosen cells [B, G].
    """
    import anndata
    from scipy.sparse import csr_matrix, vstack

    parts = [csr_matrix((r.data, r.indices, r.indptr), shape=r.shape) for r in cells.rows()]
    values = vstack(parts).tocsr()[chosen].toarray()
    permuted = anndata.AnnData(np.random.default_rng(seed).permuted(values, axis=1))
    permuted.var_names = cells.gene_names()
    return permuted


def _describe(model: Model, cells: Any, count: int, label: str) -> list[Description]:
    described = []
    with progress_bar(label, count, unit="cells") as advance:
        for description in model.describe(cells):
            described.append(description)
            advance(1)
    return described


def _score(labels: list[str], described: list[Description]) -> Accuracy:
    return score_labels(labels, [cell_type_of(description) for description in described])


def cell_type_of(description: Description) -> str | None:
    """The cell type that a description names, normalised; None if it names none."""
    said = description.fields.get("cell_type")
    return normalise_label(said.words) if said else None


def _shown(unseen: list[tuple[str, Description]], result: DemoResult) -> str:
    """A held-out cell of each label, then the scores."""
    said = Table("label of the data set", "sure", "description of a cell never seen", box=SIMPLE)
    first = {label: description for label, description in reversed(unseen)}
    for label, description in sorted(first.items()):
        sure = f"{description.cell_type_confidence or 0:.2f}"
        said.add_row(label, sure, (description.text or description.error or "").strip())
    labels = len(result.held_out.labels)
    head = (f"cell type, {labels} labels", "cells", "accuracy", f"macro (chance: {1 / labels:.0%})")
    scores = Table(*head, box=SIMPLE)
    for name, score in (
        ("cells never seen in training", result.held_out),
        ("the same, genes permuted (control)", result.control),
        ("cells seen in training", result.trained_on),
    ):
        scores.add_row(name, f"{score.cells}", f"{score.accuracy:.1%}", f"{score.macro_recall:.1%}")
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as text:
        console.print(said)
        console.print(scores)
    return "\n".join(line.rstrip() for line in text.get().splitlines()) + "\n"


def _next_commands(folder: Path, cells: Path) -> str:
    bundle = folder / "bundle"
    return (
        f"\nThe bundle is in {bundle}, all descriptions in {folder / 'descriptions.jsonl'}. Next:\n"
        f"  c2t info {bundle}\n"
        f"  c2t verify {bundle}\n"
        f"  c2t describe {bundle} {cells} --limit 5\n"
        "The model is a demonstration: draw no conclusions about cells from it.\n"
    )
