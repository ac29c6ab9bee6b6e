"""What calibrating a 1B decoder on 32 cells takes: `c2t calibrate` in a process of its own.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/preset_data.py cells REAL.h5ad CELLS.h5ad
    python benchmarks/calibrate_1b.py BUNDLE CELLS.h5ad INT8 -o benchmarks/results/calibrate_1b.json

Texts of random weights agree by chance only, so the gate asks for nothing; all else is as always:
two passes over the cells, smoothing, sensitivity, both bundles describing held-out cells.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from c2t.runtime.bench.record import finish, record, target

CELLS = 32
LONGEST_SECONDS, MOST_BYTES = 3600, 16e9


def main() -> None:
    """Run the command, and keep what it says of itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--gate-cells", type=int, default=CELLS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("calibrate_1b", threads=None, seed=0)
    counts = ["--cells-count", str(CELLS), "--gate-cells", str(options.gate_cells)]
    command = [
        *("c2t", "calibrate", str(options.bundle), str(options.cells), "-o", str(options.int8)),
        *(*counts, "--least-agreement", "0", "--json"),
    ]
    since = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from c2t.cli import main; main()", *command[1:]],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - since
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    report = json.loads(done.stdout)
    document |= {
        "calibrate": " ".join(Path(word).name if "/" in word else word for word in command),
        "cells": len(report["cells"]),
        "gate_cells": len(report["gate_cells"]),
        "seconds": seconds,
        "seconds_by_stage": report["seconds"],
        "peak_resident_bytes": peak,
        "products": len(report["products"]),
        "smoothed": sum(product["strength"] > 0 for product in report["products"]),
        "measured_divergence": [s for s in report["sensitivity"] if s["kl"] is not None],
        "noisiest": [s for s in report["sensitivity"] if s["kl"] is None][:8],
        "not_integer": [name for graph in report["kernels"] for name in graph["float32"]],
        "widened": {graph["graph"]: graph["widened"] for graph in report["kernels"]},
        "bytes": report["bytes"],
        "source_bytes": report["source_bytes"],
    }
    targets = [
        target("60 minutes over the time it took", LONGEST_SECONDS / seconds, 1.0),
        target("16 GB over its peak memory", MOST_BYTES / peak, 1.0),
        target("float32 size over INT8 size", report["source_bytes"] / report["bytes"], 1 / 0.30),
    ]
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
