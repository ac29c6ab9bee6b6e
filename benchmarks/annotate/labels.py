"""Given labels compared by the demonstration model, on labelled cells that it never saw.

    c2t export examples/demo/checkpoint -o BUNDLE
    python benchmarks/annotate/labels.py BUNDLE PBMC3K.h5ad KANG18.h5ad \
        -o benchmarks/results/annotate.json

Of each file: macro accuracy beside that of the written texts, the calibration error before a
temperature and, on cells that it was not fitted on, after it; with the file's own labels, and with
all names of the training captions. Then whether the scores are those of each label alone, and what
30 labels cost beside writing the texts of the same cells, in turns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.annotate.calibration import fit_calibration
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.annotator import AnnotateOptions
from c2t.runtime.describe.caption import caption_fields
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.model import Model
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.candidate_names import candidate_names
from c2t.runtime.generation.scoring import CandidateScorer

SEED = 0
LABEL_COLUMN = "cell_type"
CAPTION_TABLE = Path(__file__).parents[2] / "examples" / "demo" / "caption_table.json"
# Beside the 25 names of the captions, so that there are 30.
MORE_LABELS = ("erythrocyte", "plasma cell", "mast cell", "neutrophil", "fibroblast")


def held_out(bundle: Bundle, path: Path, names: dict[str, str]) -> tuple[EncodedCells, list[str]]:
    """The labelled held-out cells of a file, and the names that captions use for their labels."""
    with open_cells(path, bundle) as reader:
        labels = reader.obs_column(LABEL_COLUMN)
        rows = [
            row
            for row, (cell, label) in enumerate(zip(reader.cell_ids, labels, strict=True))
            if is_held_out(cell) and label in names
        ]
    with open_cells(path, bundle, CellOptions(cells=rows)) as reader:
        return EncodedCells.joined(list(reader.chunks())), [names[labels[row]] for row in rows]


def macro(truth: list[str], said: list[str | None]) -> float:
    """Accuracy of each type, averaged over the types."""
    right = np.array([a == b for a, b in zip(truth, said, strict=True)])
    types = np.array(truth)
    return float(np.mean([right[types == name].mean() for name in sorted(set(truth))]))


def judge(model: Model, cells: EncodedCells, truth: list[str], labels: list[str]) -> dict[str, Any]:
    """Accuracy and calibration of some labels."""
    found = list(model.annotator(labels).annotate([cells]))
    scores = np.array([cell.log_probabilities for cell in found])
    places = np.array([labels.index(name) for name in truth])
    fitted = fit_calibration(scores, places, labels, bundle=model.bundle, source="held-out cells")
    return {
        "labels": len(labels),
        "macro_accuracy": macro(truth, [cell.label for cell in found]),
        "accuracy": fitted.accuracy,
        "mean_mass": float(np.mean([cell.mass for cell in found])),
        "temperature": fitted.temperature,
        "ece_before": fitted.before.ece,
        "ece_after_on_other_cells": fitted.after.ece,
        "loss_before": fitted.before.loss,
        "loss_after_on_other_cells": fitted.after.loss,
    }


def exactness(
    bundle: Bundle, cells: EncodedCells, labels: list[str], describing: DescribeOptions
) -> dict[str, Any]:
    """Largest differences of log probabilities from those of one label and one cell at a time."""
    model = Model(bundle, describing)
    engines = model.describer().engines.clone()
    prompts = bundle_prompts(model.bundle)
    runner = prompts.runner(engines.decoder)
    annotator = model.annotator(labels)
    together = np.array([cell.log_probabilities for cell in annotator.annotate([cells])])
    alone = np.empty_like(together)
    names = [candidate_names(model.bundle, [label], annotator.names.place) for label in labels]
    for place, tokens in enumerate(cells.tokens):
        cell = prompts.of_vectors(engines.encoder.encode(tokens[None])[0].copy())
        for number, name in enumerate(names):
            scorer = CandidateScorer(engines.decoder, runner, rows=1)
            alone[place, number] = name.combine(scorer.score([cell], name.trie))[0, 0]
    return {
        "engine": engines.label,
        "cells": len(cells),
        "labels": len(labels),
        "largest_difference": float(np.abs(together - alone).max()),
    }


def cost(
    bundle: Bundle, cells: EncodedCells, labels: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds of annotating and of describing the same cells, encoder included, in turns."""
    with Model(bundle, DescribeOptions(threads=options.threads)) as model:
        describer = model.describer()
        annotator = model.annotator(labels, AnnotateOptions(threads=options.threads))
        times = interleave(
            {
                "annotate": lambda: list(annotator.annotate([cells])),
                "describe": lambda: list(describer.describe([cells])),
            },
            options.rounds,
        )
        trie = annotator.names.trie
    return {
        "cells": len(cells),
        "labels": len(labels),
        "tokens_run_for_labels": trie.runs,
        "seconds": {name: vars(spread(seconds)) for name, seconds in times.items()},
        "annotate_over_describe": median_ratio(times["annotate"], times["describe"]),
    }


def main() -> None:
    """Judge, compare with one by one, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--timed-cells", type=int, default=128)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("annotate", threads=options.threads, seed=SEED)
    bundle = open_bundle(options.bundle)
    document["bundle"] = {"name": bundle.manifest.name, "sha256": bundle.digest}
    table = json.loads(CAPTION_TABLE.read_text(encoding="utf-8"))
    every = list(table["cell_types"])
    targets, chosen = [], []
    document["files"] = {}
    for path in options.cells:
        names = table["sets"][path.stem]["labels"]
        cells, truth = held_out(bundle, path, names)
        chosen.append(cells)
        with Model(bundle, DescribeOptions(threads=options.threads)) as model:
            texts = [described.text for described in model.describer().describe([cells])]
            said = [caption_fields(text or "").cell_type for text in texts]
            found: dict[str, Any] = {"cells": len(cells), "macro_of_texts": macro(truth, said)}
            for what, labels in (("own", sorted(set(names.values()))), ("all", every)):
                found[what] = judge(model, cells, truth, labels)
                lead = found[what]["macro_accuracy"] - found["macro_of_texts"]
                error = found[what]["ece_after_on_other_cells"]
                where = f"{path.stem}, {what} labels"
                targets += [
                    target(f"{where}: macro accuracy beside texts", lead, -0.01),
                    target(f"{where}: 1 - ECE after calibration", 1 - error, 0.95),
                ]
        document["files"][path.name] = found
        print(path.name, json.dumps(found, indent=1), flush=True)
    draw = np.random.default_rng(SEED)
    joined = EncodedCells.joined(chosen)
    tokens = [joined.tokens[place] for place in draw.permutation(len(joined))]
    labels = [*every, *MORE_LABELS]
    some = EncodedCells.of_tokens(tokens[:8])
    # Weights that are not copied are not given to our step kernel: ONNX Runtime runs all.
    document["exactness"] = [
        exactness(bundle, some, labels, DescribeOptions(threads=options.threads, prepack=prepack))
        for prepack in (None, False)
    ]
    few = EncodedCells.of_tokens(tokens[: options.timed_cells])
    document["cost"] = cost(bundle, few, labels, options)
    targets += [
        target(
            f"scores of one label alone, {found['engine']}: 1e-4 over the largest difference",
            1e-4 / max(found["largest_difference"], 1e-12),
            1.0,
        )
        for found in document["exactness"]
    ]
    targets += [
        target(
            "30 labels, times faster than half the speed of writing",
            2 / document["cost"]["annotate_over_describe"],
            1.0,
        ),
    ]
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
