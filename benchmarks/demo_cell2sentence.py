r"""The demonstration that reads sentences: its answers about labelled cells that it never saw.

    python benchmarks/demo_cell2sentence.py PBMC3K.h5ad \
        -o benchmarks/results/demo_cell2sentence.json

The committed model is exported, and c2t describes the held-out cells with the bundle: those of the
file, and the same with their counts permuted over the genes of the file. Then the file that
`c2t demo` describes. Sizes are those of the committed model and of the bundle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from c2t.calibration.metrics.accuracy import Accuracy, score_labels
from c2t.examples.demo.describe_pbmc import (
    HERE,
    LABEL_COLUMN,
    LABELS,
    cell_type_of,
    pbmc_file,
    permute_genes,
)
from c2t.examples.demo.held_out import is_held_out
from c2t.examples.demo_cell2sentence.describe_pbmc import CHECKPOINT, CHECKPOINT_OPTIONS
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.model import Model
from c2t.runtime.labels.normalise import normalise_label

SEED = 7
# Entry of the caption table, with the column of its labels.
PBMC3K = ("pbmc3k_labelled_raw", "cell_type")


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pbmc3k", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    document = record("demo_cell2sentence", threads=options.threads, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_bundle(
            ExportOptions(
                output=Path(folder) / "bundle",
                checkpoint=CHECKPOINT_OPTIONS,
                cells=options.pbmc3k,
            )
        )
        document["bytes"] = {
            "committed_model": size(CHECKPOINT),
            "bundle": size(bundle.path),
        }
        with Model(bundle, DescribeOptions(threads=options.threads)) as model:
            blood = judge(model, options.pbmc3k, *PBMC3K)
            document["pbmc3k"] = blood
            document["pbmc68k"] = judge(model, pbmc_file(), LABELS, LABEL_COLUMN)
    targets = [
        target("macro accuracy on held-out cells of pbmc3k", blood["held_out"]["macro"], 0.75),
        # Of the reciprocal, as a target is the least that a value may be.
        target(
            "chance / macro accuracy of the permuted control",
            1 / blood["types"] / max(blood["permuted"]["macro"], 1e-9),
            0.5,
        ),
        target("10 MB / committed model", 1e7 / document["bytes"]["committed_model"], 1),
    ]
    finish(document, targets, options.output)


def judge(model: Model, path: Path, entry: str, column: str) -> dict[str, Any]:
    """Accuracy on the held-out cells of a file, and on the same cells with permuted genes."""
    table = json.loads((HERE / "caption_table.json").read_text(encoding="utf-8"))
    names = table["sets"][entry]["labels"]
    with open_cells(path, model.bundle) as cells:
        labels = cells.obs_column(column)
        rows = [
            row
            for row, (cell, label) in enumerate(zip(cells.cell_ids, labels, strict=True))
            if is_held_out(cell) and label in names
        ]
        shuffled = permute_genes(cells, rows, seed=SEED)
    true = [normalise_label(names[labels[row]]) for row in rows]
    with open_cells(path, model.bundle, CellOptions(cells=rows)) as cells:
        found = list(model.describe(cells))
    control = list(model.describe(shuffled))
    return {
        "cells": len(rows),
        "types": len(set(true)),
        "held_out": figures(score(true, found)),
        "permuted": figures(score(true, control)),
        "without_a_text": sum(description.text is None for description in found),
    }


def score(true: list[str], found: list[Description]) -> Accuracy:
    """Accuracy of the cell types that descriptions name."""
    return score_labels(true, [cell_type_of(description) for description in found])


def figures(accuracy: Accuracy) -> dict[str, float]:
    """What is recorded of it."""
    return {"macro": accuracy.macro_recall, "all_cells": accuracy.accuracy}


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
