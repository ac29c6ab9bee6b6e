"""The demonstration model on cells it never saw, beside the reference way in PyTorch.

c2t export examples/demo/checkpoint -o BUNDLE
python benchmarks/demo_describe.py BUNDLE CELLS.h5ad ... -o benchmarks/results/demo_describe.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from c2t.examples.demo.held_out import is_held_out
from c2t.export.checkpoint.open import load_bundle_source
from c2t.export.peers.pytorch import TorchTexts
from c2t.runtime.bench.bundle_bench import WHOLE_FILE
from c2t.runtime.bench.contest import BatchedPeer, OurTexts, latency, throughput
from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.record import Target, finish, record, target
from c2t.runtime.bench.stage_times import stage_times
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions

SEED = 0
CHECKPOINT = Path(__file__).parents[1] / "examples" / "demo" / "checkpoint"
# Past the best one: PyTorch's was 64 of those up to 64.
BATCHES = (1, 4, 16, 32, 64, 128, 256)


def held_out_cells(bundle: Bundle, path: Path) -> list[GeneTokenArray]:
    """Gene tokens of all held-out cells of a file."""
    with open_cells(path, bundle) as reader:
        names = [name for name in map(str, reader.cell_ids) if is_held_out(name)]
    with open_cells(path, bundle, CellOptions(cells=names)) as reader:
        chunks = list(reader.chunks())
    return [
        tokens
        for chunk in chunks
        for tokens, error in zip(chunk.tokens, chunk.errors, strict=True)
        if error is None
    ]


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, nargs="+")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--latency-cells", type=int, default=24)
    parser.add_argument("--beam-cells", type=int, default=12)
    parser.add_argument("--batch-cells", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def draft_figures(
    drafting: OurTexts, plain: OurTexts, cells: list[GeneTokenArray]
) -> dict[str, Any]:
    """Describe cells with and without drafts: texts that differ, and what drafts saved."""
    texts, expected = drafting.describe(cells, 1), plain.describe(cells, 1)
    counts = drafting.clock.counts
    return {
        "cells": len(cells),
        "different_texts": sum(a != b for a, b in zip(texts, expected, strict=True)),
        "tokens": sum(map(len, texts)),
        "steps": counts["steps"],
        "tokens_per_step": counts["tokens"] / counts["steps"],
        "drafted": counts.get("drafted", 0),
        "accepted": counts.get("accepted", 0),
    }


def targets_of(document: dict[str, Any]) -> list[Target]:
    """The figures of the document that have a target."""
    drafts, alone, beams = (document[part] for part in ("drafts", "latency", "beams"))
    same = {
        what: min(document[what]["same_texts"]["PyTorch"]) / document[what]["cells"]
        for what in ("latency", "beams")
    }
    best = document["throughput"]["times_faster_than_the_best_peer"]
    unchanged = 1 - drafts["different_texts"] / drafts["cells"]
    return [
        target("tokens per step with drafts", drafts["tokens_per_step"], 4.0),
        target("texts equal with and without drafts", unchanged, 1.0),
        target("one description, times PyTorch", alone["times_faster_than"]["PyTorch"], 8.0),
        target("texts equal to PyTorch's", same["latency"], 1.0),
        target("file throughput, times PyTorch at its best batch", best, 8.0),
        target("4 beams, times PyTorch", beams["times_faster_than"]["PyTorch"], 3.0),
        target("4 beams, texts equal to PyTorch's", same["beams"], 1.0),
    ]


def main() -> None:
    """Check texts, then measure latency, beams and throughput."""
    options = parse_options()
    document = record("demo_describe", threads=options.threads, seed=SEED)
    bundle = open_bundle(options.bundle, verify=False)
    document["bundle"] = {"name": bundle.manifest.name, "sha256": bundle.digest}
    by_file = {path.name: held_out_cells(bundle, path) for path in options.cells}
    document["held_out_cells"] = {name: len(cells) for name, cells in by_file.items()}
    cells = [cell for of_file in by_file.values() for cell in of_file]
    draw = np.random.default_rng(SEED)
    chosen = [cells[i] for i in draw.permutation(len(cells))]
    loaded = load_bundle_source(options.checkpoint, None)
    torch_way = TorchTexts(loaded, bundle.manifest.generation, options.threads)

    def ours(name: str, **settings: int) -> OurTexts:
        describing = DescribeOptions(threads=options.threads, **settings)
        return OurTexts(bundle, describing, name)

    def note(what: str) -> None:
        print(what, flush=True)

    note(f"drafts on and off on all {len(cells)} held-out cells")
    drafting = ours("c2t", batch_size=1)
    plain = ours("c2t, no drafts", batch_size=options.batch_size, drafts=False)
    document["drafts"] = draft_figures(drafting, plain, cells)

    note("one cell at a time")
    few = chosen[: options.latency_cells]
    document["start"] = measure_fresh(options.bundle, few[0].tolist(), threads=options.threads)
    document["stages"] = stage_times(drafting, few, beams=1)
    document["latency"] = latency(
        [drafting, ours("c2t, no drafts", batch_size=1, drafts=False), torch_way],
        few,
        beams=1,
        repeats=options.repeats,
    )
    note("4 beams")
    document["beams"] = latency(
        [ours("c2t", num_beams=4), torch_way],
        chosen[: options.beam_cells],
        beams=4,
        repeats=options.repeats,
    )
    note("batches")
    document["throughput"] = throughput(
        [
            (ours("c2t", batch_size=options.batch_size), WHOLE_FILE),
            *((BatchedPeer(torch_way, size), size) for size in BATCHES),
        ],
        chosen[: options.batch_cells],
        repeats=max(1, options.repeats - 1),
    )
    finish(document, targets_of(document), options.output)


if __name__ == "__main__":
    main()
