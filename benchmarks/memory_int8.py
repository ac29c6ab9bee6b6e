"""The memory of an INT8 bundle, opened and running, in fresh processes: its peak over its bytes.

Random weights: memory does not depend on their values.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/random_int8.py BUNDLE -o INT8
    python benchmarks/memory_int8.py INT8 -o benchmarks/results/memory_int8.json

The peak is the largest resident size (VmHWM), with pages of mapped files. "opening" ends when cells
could be described; "running" is one cell of so many genes, its prompt and 60 text tokens. Seconds
are those of a machine with other work (`load_before`): the least of the openings is nearest to what
opening takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import open_bundle

SEED = 0
GENES = (2048, 4096)
TOKENS = 60  # of a text
NOTE = "memory does not depend on the load; seconds do, and are worth nothing on a busy machine"
MOST_MEMORY, MOST_SECONDS = 1.1, 2.0


def main() -> None:
    """Measure each length of a cell several times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--genes", type=int, nargs="+", default=list(GENES))
    parser.add_argument("--openings", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("memory_int8", threads=options.threads, seed=SEED)
    document["note"] = NOTE
    bundle = open_bundle(options.bundle, verify=False)
    document["bundle"] = {"name": bundle.manifest.name, "bytes": bundle.bytes}
    # The first run fills the page cache, so that no opening waits for the disk.
    measure(options.bundle, options.genes[0], options.threads)
    runs = {
        str(genes): [
            measure(options.bundle, genes, options.threads) for _ in range(options.openings)
        ]
        for genes in options.genes
    }
    document["genes"] = {genes: worst(several) for genes, several in runs.items()}
    seconds = min(run["open_seconds"] for several in runs.values() for run in several)
    document["least_open_seconds"] = seconds
    longest = document["genes"][str(max(options.genes))]
    targets = [
        target(f"bytes over the peak {when} (least 1 / 1.1)", 1 / longest[name], 1 / MOST_MEMORY)
        for when, name in (("at opening", "opening_of_bundle"), ("running", "running_of_bundle"))
    ]
    targets.append(target("1 over seconds to open (least 1 / 2)", 1 / seconds, 1 / MOST_SECONDS))
    finish(document, targets, options.output)


def measure(folder: Path, genes: int, threads: int | None) -> dict[str, float]:
    """Figures of a fresh process that describes one cell."""
    vocabulary = open_bundle(folder, verify=False).manifest.gene_input.vocabulary_size
    cell = np.random.default_rng(SEED).choice(vocabulary - 4, genes, replace=False) + 4
    return measure_fresh(folder, cell.tolist(), threads=threads, max_new_tokens=TOKENS)


def worst(runs: list[dict[str, float]]) -> dict[str, Any]:
    """The largest figures of several runs."""
    names = ("resident_bytes_after_opening", "peak_resident_bytes", "private_bytes")
    found: dict[str, Any] = {name: max(run[name] for run in runs) for name in names}
    size = runs[0]["bundle_bytes"]
    found["opening_of_bundle"] = found["resident_bytes_after_opening"] / size
    found["running_of_bundle"] = found["peak_resident_bytes"] / size
    return found


if __name__ == "__main__":
    main()
