"""Whether the answers of groups are right: four sets of labelled cells, described and grouped.

`c2t describe --group-by leiden --embedding` of each file, as anybody would run it. A cell is right
when the consensus of its group is the caption's name of its label; it is not when the group is
mixed. The same cells are then clustered at other resolutions and judged at any share, which is what
the defaults were chosen by. Most cells were seen in training: held-out ones are counted apart.

python benchmarks/groups/consensus.py BUNDLE CELLS_FOLDER -o benchmarks/results/groups.json
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from labelled import SETS, cells_of, label_column, types_of

from c2t.examples.demo.held_out import is_held_out
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.groups.consensus import CellAnswer, make_groups
from c2t.runtime.groups.leiden import leiden_groups
from c2t.runtime.groups.options import LEIDEN, MIN_SHARE, RESOLUTION, GroupOptions
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.output.parquet import read_parquet
from c2t.runtime.output.record import Record, embedding_array

RESOLUTIONS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
LEAST = 0.95  # of the cells of pbmc3k


def described(bundle: Path, cells: Path, folder: Path) -> tuple[list[Record], list[dict[str, str]]]:
    """Cells and groups as the command writes them."""
    out = folder / f"{cells.stem}.parquet"
    options = DescribeFileOptions(
        cells=cells, output=out, embedding=True, groups=GroupOptions(by=LEIDEN)
    )
    describe_file(open_bundle(bundle), options, stream=io.BytesIO(), report=print)
    with out.with_name(f"{cells.stem}.groups.csv").open(newline="", encoding="utf-8") as stream:
        return list(read_parquet(out)), list(csv.DictReader(stream))


def at_resolution(
    records: list[Record], types: np.ndarray[Any, Any], resolution: float
) -> tuple[dict[str, Any], list[tuple[float, int, int]]]:
    """Right cells at a resolution; and of each group its share, its cells, and the right ones."""
    labels = leiden_groups(
        lambda: map(embedding_array, records), len(records), resolution=resolution
    )
    answers = [CellAnswer(described=r.text is not None, cell_type=r.cell_type) for r in records]
    groups = make_groups(labels, answers, min_share=0)
    each, right = [], {"any": 0, "min_share": 0, "half": 0}
    for number, group in enumerate(groups):
        named = group.shares[0].cell_type if group.shares else ""
        hits = int((types[labels.codes == number] == named).sum())
        each.append((group.share or 0.0, group.cells, hits))
        right["any"] += hits
        right["min_share"] += hits * ((group.share or 0) >= MIN_SHARE)
        right["half"] += hits * ((group.share or 0) >= 0.5)
    shares = {f"right_with_{name}": round(n / len(types), 4) for name, n in right.items()}
    return {"groups": len(groups), **shares}, each


def measure(bundle: Path, path: Path, name: str, folder: Path) -> tuple[dict[str, Any], Any]:
    """One set, and what was found of its groups at all resolutions."""
    store = open_store(path)
    types = types_of(name, store.obs.column(label_column(name)))
    held_out = np.array([is_held_out(cell) for cell in store.obs.index()])
    store.close()
    since = time.monotonic()
    records, table = described(bundle, path, folder)
    seconds = time.monotonic() - since
    by_name = {row["group"]: row["cell_type"] for row in table}
    groups = grouped_names(folder / f"{path.stem}.parquet")
    said = np.array([record.cell_type or "" for record in records])
    consensus = np.array([by_name.get(group or "", "") for group in groups])
    of_group = [row for row in table if row["state"] == "consensus"]
    swept, each = {}, []
    for resolution in RESOLUTIONS:
        swept[f"{resolution:g}"], found = at_resolution(records, types, resolution)
        each += found
    return {
        "cells": len(types),
        "groups": len(table),
        "mixed": sum(row["state"] == "mixed" for row in table),
        "right_by_group": share(consensus == types),
        "right_by_cell": share(said == types),
        "held_out": {
            "cells": int(held_out.sum()),
            "right_by_group": share((consensus == types)[held_out]),
            "right_by_cell": share((said == types)[held_out]),
        },
        "texts_that_name_the_consensus": sum(
            row["text_cell_type"] == row["cell_type"] for row in of_group
        ),
        "groups_with_a_consensus": len(of_group),
        "seconds": round(seconds, 1),
        "by_resolution": swept,
    }, each


def grouped_names(path: Path) -> list[str | None]:
    """The group of each cell."""
    from pyarrow.parquet import read_table

    names: list[str | None] = read_table(path, columns=["group"])["group"].to_pylist()
    return names


def share(right: np.ndarray[Any, Any]) -> float:
    """Of true values."""
    return round(float(right.mean()), 4)


def by_share(each: list[tuple[float, int, int]]) -> dict[str, dict[str, float]]:
    """How often an answer of some share is right: in steps of a tenth, all sets and resolutions."""
    bins: dict[float, list[tuple[int, int]]] = defaultdict(list)
    for value, cells, right in each:
        bins[min(int(value * 10), 9) / 10].append((cells, right))
    return {
        f"{low:.1f} to {low + 0.1:.1f}": {
            "groups": len(found),
            "groups_mostly_right": sum(2 * right > cells for cells, right in found),
            "cells_right": round(sum(r for _, r in found) / sum(c for c, _ in found), 3),
        }
        for low, found in sorted(bins.items())
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    sets, each = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in SETS:
            path = cells_of(options.cells, name)
            sets[name], found = measure(options.bundle, path, name, Path(folder))
            each += found
    document = record("groups", threads=None, seed=0)
    document |= {
        "defaults": {"resolution": RESOLUTION, "min_share": MIN_SHARE},
        "sets": sets,
        "by_share": by_share(each),
    }
    named = sum(found["texts_that_name_the_consensus"] for found in sets.values())
    groups = sum(found["groups_with_a_consensus"] for found in sets.values())
    pbmc = sets[SETS[0]]["right_by_group"]
    targets = [
        target("cells of pbmc3k in a group whose consensus names their type", pbmc, LEAST),
        target("texts of groups that name the consensus", named / groups, LEAST),
    ]
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
