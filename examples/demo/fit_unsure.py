r"""Fits the demonstration's threshold for unsure cells, and measures it on other cells.

One decision: three kinds of cells. The model was trained on most; of those that it never saw, half
are for the fit and half for the figures, which are written beside it.

    python -m c2t.examples.demo.fit_unsure BUNDLE CELLS.h5ad...
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from c2t.calibration.confidence.score import score_certainty
from c2t.calibration.evaluate.unsure_bundle import write_rule
from c2t.calibration.evaluate.unsure_fit import confidence_and_right, fit_unsure, fitted_on
from c2t.calibration.results.evaluation import CellRecord
from c2t.examples.demo.describe_pbmc import SEED, permute_genes
from c2t.examples.demo.held_out import is_for_fitting, is_held_out
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.unsure_rule import FittedOn, UnsureRule
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.model import Model
from c2t.runtime.describe.unsure import text_settings

HERE = Path(__file__).parent
TARGET = 0.95
WHICH = "held out from training, the second byte of the name's SHA-256 even"


@dataclass(frozen=True)
class Judged:
    """Held-out cells of a file, and cells of types that the model was not trained on."""

    file: FittedOn
    for_fitting: list[CellRecord]
    for_figures: list[CellRecord]
    never_seen: list[CellRecord]
    permuted: list[CellRecord]


def judge(model: Model, path: Path, entry: dict[str, Any]) -> Judged:
    """Describe the cells of a file that the model never saw."""
    column, names = entry["label_column"], entry["labels"]
    with CellCounts(path) as cells:
        ids, labels = cells.cell_ids, cells.obs_column(column)
        held = [i for i, cell in enumerate(ids) if is_held_out(cell) and labels[i] in names]
        other = [i for i, label in enumerate(labels) if label not in names]
        figures = [i for i in held if not is_for_fitting(ids[i])]
        shuffled = permute_genes(cells, figures, seed=SEED)
    fitting = [i for i in held if is_for_fitting(ids[i])]

    def records(chosen: Sequence[int]) -> list[CellRecord]:
        if not chosen:
            return []
        described = model.describe(path, reading=CellOptions(cells=list(chosen)))
        return [
            record(description, names.get(labels[i]))
            for i, description in zip(chosen, described, strict=True)
        ]

    return Judged(
        file=fitted_on(path, len(fitting), column=column, label_map=None, which=WHICH),
        for_fitting=records(fitting),
        for_figures=records(figures),
        never_seen=records(other),
        permuted=[record(d, None) for d in model.describe(shuffled)],
    )


def record(description: Description, true: str | None) -> CellRecord:
    """A cell as the fit reads it."""
    field = description.fields.get("cell_type")
    return CellRecord(
        cell=description.cell,
        text=description.text,
        error=description.error,
        true={"cell_type": true},
        said={"cell_type": None if field is None else field.words},
        similarity={},
        cell_type_confidence=description.cell_type_confidence,
    )


def figures(rule: UnsureRule, records: Sequence[CellRecord]) -> dict[str, Any]:
    """What the rule does on labelled cells that it was not fitted on."""
    confidence, right = confidence_and_right([r for r in records if r.text is not None])
    stated, unsure = marks(rule, confidence)
    score = score_certainty(confidence, right, stated=stated, unsure=unsure)
    assert score is not None
    assert score.after is not None
    assert score.answers is not None
    return {
        "cells": len(right),
        "right": round(float(right.mean()), 4),
        "answered": round(score.answers.answered, 4),
        "answered_right": _rounded(score.answers.answered_right),
        "unsure_right": _rounded(score.answers.unsure_right),
        "ece_of_the_confidence": round(score.before.ece, 4),
        "ece_of_the_probability": round(score.after.ece, 4),
    }


def marks(rule: UnsureRule, confidence: Any) -> tuple[Any, Any]:
    """Probability of each cell [B], NaN where no cell type is named; and 1 for unsure cells."""
    stated = np.array(
        [rule.probability_of(c) if np.isfinite(c) else float("nan") for c in confidence]
    )
    return stated, np.where(stated >= rule.threshold, 0.0, 1.0)


def unsure_share(rule: UnsureRule, records: Sequence[CellRecord]) -> dict[str, Any]:
    """How many cells without a right answer are called unsure."""
    _, unsure = marks(rule, confidence_and_right(records)[0])
    return {"cells": len(records), "unsure": round(float(unsure.mean()), 4)}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def main(
    bundle: Annotated[Path, typer.Argument(help="Exported from the checkpoint, float32.")],
    cell_files: Annotated[list[Path], typer.Argument(help="Labelled files that training read.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder.")] = HERE / "checkpoint",
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "unsure_results.json",
) -> None:
    """Fit the threshold, and write it into the checkpoint; measure it."""
    table = json.loads((HERE / "caption_table.json").read_text(encoding="utf-8"))["sets"]
    opened = open_bundle(bundle)
    judged: dict[str, Judged] = {}
    with Model(opened) as model:
        for path in sorted(cell_files, key=lambda path: list(table).index(path.stem)):
            if len(set(table[path.stem]["labels"].values())) > 1:  # of one type, all are right
                typer.echo(f"describing {path.name}", err=True)
                judged[path.stem] = judge(model, path, table[path.stem])
    rule = fit_unsure(
        opened,
        [r for one in judged.values() for r in one.for_fitting if r.text is not None],
        [one.file for one in judged.values()],
        target=TARGET,
        generation=text_settings(opened.manifest.generation),
    )
    write_rule(checkpoint, rule)
    every = [r for one in judged.values() for r in one.for_figures]
    results = {
        "threshold": rule.threshold,
        "target": rule.target,
        "fitted_on_cells": rule.cells,
        "held_out": {name: figures(rule, one.for_figures) for name, one in judged.items()}
        | {"all": figures(rule, every)},
        "labels_never_seen": {
            name: unsure_share(rule, one.never_seen)
            for name, one in judged.items()
            if one.never_seen
        },
        "genes_permuted": {name: unsure_share(rule, one.permuted) for name, one in judged.items()},
    }
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8", newline="")
    typer.echo(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
