"""Which embedding tells cell types apart: the encoder's output, or the projector's.

Cells that the demonstration model has never seen. Of each, the mean of the encoder's output over
the ranks that the projector reads, and the mean of what the projector makes of them. The type of
each cell is then guessed from its 15 nearest neighbours of the same file (accuracy over cells, and
its mean over types), and types are compared by the silhouette.

python benchmarks/groups/embedding.py BUNDLE CELLS_FOLDER -o benchmarks/results/embedding.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from labelled import SETS, cells_of, label_column, types_of
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.embedding import embedding_of

NEIGHBOURS = 15
BATCHES = 32  # cells of equal length that were encoded together, for the comparison with one


def scores(points: NDArray[np.float32], types: NDArray[np.str_]) -> dict[str, float]:
    """How well neighbours tell the type."""
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(points) - 1)).fit(points)
    near = search.kneighbors(return_distance=False)
    guessed = np.array([Counter(types[row].tolist()).most_common(1)[0][0] for row in near])
    each = [float((guessed[types == name] == name).mean()) for name in np.unique(types)]
    return {
        "neighbour_accuracy": round(float((guessed == types).mean()), 4),
        "neighbour_macro_accuracy": round(float(np.mean(each)), 4),
        "silhouette": round(float(silhouette_score(points, types)), 4),
    }


def batch_difference(
    describer: Describer, spec: GeneInput, tokens: list[NDArray[np.int32]]
) -> float:
    """Largest difference of an embedding by the batch it was made in, over the largest value."""
    encoder = describer.engines.encoder
    length = Counter(map(len, tokens)).most_common(1)[0][0]
    cells = [cell for cell in tokens if len(cell) == length][:BATCHES]
    together = encoder.encode_with_hidden(np.stack(cells))[1]
    worst, largest = 0.0, 0.0
    for cell, hidden in zip(cells, together, strict=True):
        alone = embedding_of(cell, encoder.encode_with_hidden(cell[None])[1][0], spec)
        worst = max(worst, float(np.abs(alone - embedding_of(cell, hidden, spec)).max()))
        largest = max(largest, float(np.abs(alone).max()))
    return worst / largest


def measure(describer: Describer, bundle: Any, path: Path, name: str) -> dict[str, Any]:
    """Both embeddings of the held-out cells of a file."""
    spec, encoder = bundle.manifest.gene_input, describer.engines.encoder
    with open_cells(path, bundle) as reader:
        types = types_of(name, reader.obs_column(label_column(name)))
        tokens = [cell for chunk in reader.chunks() for cell in chunk.tokens]
        kept = [
            place
            for place, cell in enumerate(reader.cell_ids)
            if types[place] and len(tokens[place]) and is_held_out(cell)
        ]
    ours, theirs = [], []
    for place in kept:
        vectors, hidden = encoder.encode_with_hidden(tokens[place][None])
        ours.append(embedding_of(tokens[place], hidden[0], spec))
        theirs.append(vectors[0].mean(axis=0, dtype=np.float32))
    return {
        "cells": len(kept),
        "types": len(set(types[kept].tolist())),
        "encoder": scores(np.stack(ours), types[kept]),
        "projector": scores(np.stack(theirs), types[kept]),
        "relative_difference_by_batch": batch_difference(
            describer, spec, [tokens[k] for k in kept]
        ),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    describer = Describer(bundle, DescribeOptions(threads=1))
    sets = {name: measure(describer, bundle, cells_of(options.cells, name), name) for name in SETS}
    means = {
        kind: {
            score: round(float(np.mean([found[kind][score] for found in sets.values()])), 4)
            for score in sets[SETS[0]][kind]
        }
        for kind in ("encoder", "projector")
    }
    score = "neighbour_macro_accuracy"
    better = target(
        "macro accuracy by the encoder's neighbours, over that by the projector's",
        means["encoder"][score] / means["projector"][score],
        1.0,
    )
    document = record("embedding", threads=1, seed=0)
    document |= {"bundle": bundle.manifest.name, "engine": describer.engines.label}
    finish(document | {"sets": sets, "means": means}, [better], options.output)


if __name__ == "__main__":
    main()
