"""What a change costs plain `c2t describe`: two installations in turn, on the same cells.

    python benchmarks/before_after.py BEFORE/bin/c2t AFTER/bin/c2t BUNDLE CELLS.h5ad -o RESULT.json

Texts and confidences must be the same. Ratios are medians of the rounds' ratios: elapsed time,
processor time of the whole process, and its largest resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from c2t.runtime.bench.record import load, record

SAME = ("cell", "text", "confidence", "cell_type_confidence", "genes_used", "error")
MEASURED = ("seconds", "processor_seconds", "resident_bytes")


def describe(command: Path, arguments: argparse.Namespace, output: Path) -> dict[str, float]:
    """Run one installation; what it took."""
    words = [str(command), "describe", str(arguments.bundle), str(arguments.cells)]
    words += ["--limit", str(arguments.limit), "-o", str(output), "--force"]
    since = perf_counter()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        message = f"{command} failed with status {status}"
        raise RuntimeError(message)
    return {
        "seconds": perf_counter() - since,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "resident_bytes": 1024.0 * used.ru_maxrss,
    }


def described(path: Path) -> list[list[Any]]:
    """What both installations write of each cell."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[json.loads(line)[name] for name in SAME] for line in lines]


def main() -> None:
    """Describe in turns, and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("bundle", type=Path, help="one that both read")
    parser.add_argument("cells", type=Path)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    document = record("before_after", threads=None, seed=0)
    commands = {"before": arguments.before, "after": arguments.after}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as name:
        outputs = {which: Path(name) / f"{which}.jsonl" for which in commands}
        for number in range(-1, arguments.rounds):
            for which in commands if number % 2 else reversed(commands):
                took = describe(commands[which], arguments, outputs[which])
                if number >= 0:  # the first reads files into memory
                    runs[which].append(took)
        if described(outputs["before"]) != described(outputs["after"]):
            message = "the texts or the confidences differ"
            raise RuntimeError(message)
    document |= {
        "cells": arguments.limit,
        "rounds": arguments.rounds,
        "median": {
            which: {what: float(np.median([run[what] for run in took])) for what in MEASURED}
            for which, took in runs.items()
        },
        "after_over_before": {
            what: float(
                np.median(
                    [
                        later[what] / earlier[what]
                        for earlier, later in zip(runs["before"], runs["after"], strict=True)
                    ]
                )
            )
            for what in MEASURED
        },
        "load_after": load(),
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["after_over_before"], indent=1))


if __name__ == "__main__":
    main()
