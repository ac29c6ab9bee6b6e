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

from c2t.calibration.accuracy import Accuracy, score_labels
from c2t.examples.demo.held_out import is_held_out
from c2t.export.checkpoint_options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.atomic import write_text
from c2t.runtime.bundle import Bundle
from c2t.runtime.caption import caption_fields, normalise_label
from c2t.runtime.describe import Description
from c2t.runtime.errors import CellFileError
from c2t.runtime.output_record import make_record
from c2t.runtime.output_table import json_line
from c2t.runtime.progress import progress_bar
from c2t.runtime.report import table

HERE = Path(__file__).parent
CHECKPOINT = HERE / "checkpoint"
CELLS_NAME = "10x_pbmc68k_reduced.h5ad"
# Entry of the caption table that says what each label of these cells is called in a caption.
LABELS = "pbmc68k_reduced_700x765_raw"
LABEL_COLUMN = "bulk_labels"
SEED = 7
EXAMPLES_A_LABEL = 1

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Scores of the demonstration.

    Attributes:
        held_out: On cells that training never saw.
        control: On the same cells with the genes of each permuted: what guessing gives.
        trained_on: On the other cells, for comparison.
    """

    held_out: Accuracy
    control: Accuracy
    trained_on: Accuracy


def run_demo(folder: Path, *, force: bool = False, report: Report = lambda _: None) -> str:
    """Export, describe and score; the bundle and the descriptions stay in `folder`.

    Args:
        folder: Where the results go; made if it is not there.
        force: Replace the results of an earlier demonstration.
        report: Told what is being done.

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
            checkpoint=CheckpointOptions(folder=CHECKPOINT),
            cells=cells_file,
            force=force,
        ),
        report=report,
    )
    report(f"describing the cells of {cells_file.name}")
    cells = _read_cells(cells_file)
    described = _describe(bundle, cells, "describing")
    lines = b"".join(json_line(make_record(i, d)) for i, d in enumerate(described))
    write_text(folder / "descriptions.jsonl", lines.decode(), force=True)

    labels = expected_labels([str(value) for value in cells.obs[LABEL_COLUMN]])
    held_out = np.array([is_held_out(str(name)) for name in cells.obs_names])
    control_cells = permute_genes(cells[held_out], seed=SEED)
    control = _describe(bundle, control_cells, "control: genes permuted")
    result = DemoResult(
        held_out=_score(labels, described, held_out),
        control=_score(
            [label for label, kept in zip(labels, held_out, strict=True) if kept], control
        ),
        trained_on=_score(labels, described, ~held_out),
    )
    scores = msgspec.json.format(msgspec.json.encode(result)).decode()
    write_text(folder / "scores.json", scores, force=True)
    names = [str(value) for value in cells.obs[LABEL_COLUMN]]
    return _shown(names, described, held_out, result) + _next_commands(folder, cells_file)


def pbmc_file() -> Path:
    """The file of 700 blood cells inside scanpy's package; scanpy itself is not imported.

    Raises:
        CellFileError: scanpy is not installed, or does not bring the file.
    """
    found = importlib.util.find_spec("scanpy")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / "datasets" / CELLS_NAME
        if path.is_file():
            return path
    problem = f"the demonstration's cells ({CELLS_NAME}, inside scanpy's wheel) are not here"
    raise CellFileError(problem, hint='run `pip install "c2t[demo]"`')


def expected_labels(labels: list[str]) -> list[str]:
    """The cell type that a caption should name for each label of the data set, normalised."""
    entry = json.loads((HERE / "caption_table.json").read_text(encoding="utf-8"))["sets"][LABELS]
    return [normalise_label(entry["labels"][label]) for label in labels]


def permute_genes(cells: Any, *, seed: int) -> Any:
    """The same values on other genes: each cell's values are dealt out to the genes anew.

    What is left is the number of genes and the shape of the distribution; what a model can still
    tell from that is chance.

    Args:
        cells: AnnData with values [B,G] in `X`.
        seed: Of the permutations, one a cell.
    """
    draw = np.random.default_rng(seed)
    permuted = cells.copy()
    values = permuted.X.toarray() if hasattr(permuted.X, "toarray") else np.array(permuted.X)
    permuted.X = draw.permuted(values, axis=1)
    return permuted


def _read_cells(path: Path) -> Any:
    """The cells with their log-normalised values as `X` (scanpy's own `X` is scaled)."""
    import anndata

    cells = anndata.read_h5ad(path)
    plain = anndata.AnnData(X=cells.raw.X.copy(), obs=cells.obs[[LABEL_COLUMN]].copy())
    plain.var_names = cells.raw.var_names
    return plain


def _describe(bundle: Bundle, cells: Any, label: str) -> list[Description]:
    described = []
    with progress_bar(label, cells.n_obs, unit="cells") as advance:
        for description in bundle.describe(cells):
            described.append(description)
            advance(1)
    return described


def _score(labels: list[str], described: list[Description]) -> Accuracy:
    return score_labels(labels, [cell_type_of(description) for description in described])


def cell_type_of(description: Description) -> str | None:
    """The cell type that a description names, normalised; None if it names none."""
    found = caption_fields(description.text or "").cell_type
    return normalise_label(found) if found else None


def _shown(
    names: list[str], described: list[Description], held_out: Any, result: DemoResult
) -> str:
    """A held-out cell of each label, then the scores."""
    rows = []
    for label in sorted(set(names)):
        of_label = [i for i in np.flatnonzero(held_out) if names[i] == label]
        for i in of_label[:EXAMPLES_A_LABEL]:
            confidence = described[i].cell_type_confidence
            shown = "-" if confidence is None else f"{confidence:.2f}"
            rows.append((label, shown, _shortened(described[i].text or described[i].error or "")))
    labels = len(result.held_out.labels)
    scores = [
        ("cells never seen in training", *_score_columns(result.held_out)),
        ("the same, genes permuted (control)", *_score_columns(result.control)),
        ("cells seen in training", *_score_columns(result.trained_on)),
    ]
    return (
        "A cell of each label that was not trained on\n\n"
        + table(("label of the data set", "sure", "description"), rows)
        + f"\nCell type, {labels} labels (chance: {1 / labels:.0%} macro)\n\n"
        + table(("", "cells", "accuracy", "macro accuracy"), scores)
    )


def _score_columns(score: Accuracy) -> tuple[str, str, str]:
    return f"{score.cells}", f"{score.accuracy:.1%}", f"{score.macro_recall:.1%}"


def _shortened(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _next_commands(folder: Path, cells: Path) -> str:
    bundle = folder / "bundle"
    return (
        f"\nThe bundle is in {bundle}, all descriptions in {folder / 'descriptions.jsonl'}. Next:\n"
        f"  c2t info {bundle}\n"
        f"  c2t verify {bundle}\n"
        f"  c2t describe {bundle} {cells} --limit 5\n"
        "The model is a demonstration: draw no conclusions about cells from it.\n"
    )
