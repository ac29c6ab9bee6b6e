"""Time the same cells by `c2t describe` and by two Dask workers of this machine.

c2t demo && python benchmarks/scale_out.py c2t-demo/bundle -o benchmarks/results/scale_out.json

The cells are those of an `.h5ad` file, repeated. Both have all cores: the one as threads, the two
workers half of them each. The results are compared byte for byte. The memory is the peak of the
largest process that describes (proportional set size: mapped weights count once).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import msgspec
import numpy as np
import psutil

from c2t.runtime.bench.record import finish, record, target

C2T = Path(sysconfig.get_path("scripts")) / "c2t"
SEED = 20261129
SAMPLE_SECONDS = 1.0
MOST_OVERHEAD = 10.0  # percent


@dataclass(frozen=True, kw_only=True)
class Done:
    """One run of the command."""

    seconds: float  # of the command as a whole
    cpu: float  # seconds of all its processes: other load of the machine hardly changes it
    describing: float  # as its summary says: without opening engines and starting workers
    peak_bytes: int
    output: bytes


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("source", type=Path, help="an .h5ad file whose cells are repeated")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3, help="of each, interleaved")
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def repeat_cells(source: Path, path: Path, cells: int) -> None:
    """Write a file with so many cells, drawn from another one."""
    adata = anndata.read_h5ad(source)
    rows = np.random.default_rng(SEED).integers(0, adata.n_obs, cells)
    adata = anndata.AnnData(adata.X[rows], var=adata.var)
    adata.obs_names = [f"cell{number}" for number in range(cells)]
    adata.write_h5ad(path)


def run(arguments: list[Any], output: Path) -> Done:
    """Run `c2t describe` into a file, and look at the memory of its processes meanwhile."""
    since, before = time.monotonic(), cpu_of_children()
    process = subprocess.Popen(
        [str(C2T), "describe", *map(str, arguments), "-o", str(output), "--force", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, largest(process.pid))
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - since
    printed, messages = process.communicate()
    if process.returncode != 0:
        sys.exit(messages.decode())
    describing = msgspec.json.decode(printed)["seconds"]
    return Done(
        seconds=seconds,
        cpu=cpu_of_children() - before,
        describing=describing,
        peak_bytes=peak,
        output=output.read_bytes(),
    )


def cpu_of_children() -> float:
    """Processor seconds of all processes that this one has waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def largest(pid: int) -> int:
    """Memory of the largest process of a command: the one that describes, or a worker."""
    sizes = [0]
    try:
        command = psutil.Process(pid)
        for process in command.children(recursive=True) or [command]:
            sizes.append(process.memory_full_info().pss)  # noqa: PERF401 - some may be gone
    except psutil.Error:
        pass
    return max(sizes)


def main() -> None:
    """Run both in turn, compare, and record."""
    options = parse_options()
    document = record("scale_out", threads=None, seed=SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = folder / "cells.h5ad"
        repeat_cells(options.source, cells, options.cells)
        one: list[Done] = []
        two: list[Done] = []
        for number in range(options.runs):
            one.append(run([options.bundle, cells], folder / "one.jsonl"))
            two.append(run([options.bundle, cells, "--dask", "local:2"], folder / "two.jsonl"))
            if one[-1].output != two[-1].output:
                sys.exit(f"run {number}: the two files differ")
            print(
                f"{number}: {one[-1].seconds:.1f} s ({one[-1].describing:.1f} s describing), "
                f"two workers {two[-1].seconds:.1f} s ({two[-1].describing:.1f} s)",
                file=sys.stderr,
            )
    whole = [100 * (b.seconds / a.seconds - 1) for a, b in zip(one, two, strict=True)]
    describing = [100 * (b.describing / a.describing - 1) for a, b in zip(one, two, strict=True)]
    cpu = [100 * (b.cpu / a.cpu - 1) for a, b in zip(one, two, strict=True)]
    overhead = statistics.median(whole)
    memory = statistics.median(b.peak_bytes / a.peak_bytes for a, b in zip(one, two, strict=True))
    targets = [
        target("room left below 10 % overhead, in percent", MOST_OVERHEAD - overhead, 0.0),
        target("the same in processor seconds", MOST_OVERHEAD - statistics.median(cpu), 0.0),
        target("memory of describe over that of a worker", 1 / memory, 0.9),
    ]
    document |= {
        "cells": options.cells,
        "results": "the same, byte for byte, in every run",
        "describe_seconds": [round(done.seconds, 2) for done in one],
        "two_workers_seconds": [round(done.seconds, 2) for done in two],
        "overhead_percent": [round(value, 1) for value in whole],
        "overhead_percent_median": round(overhead, 1),
        "overhead_percent_while_describing": [round(value, 1) for value in describing],
        "describe_cpu_seconds": [round(done.cpu, 2) for done in one],
        "two_workers_cpu_seconds": [round(done.cpu, 2) for done in two],
        "overhead_percent_of_cpu": [round(value, 1) for value in cpu],
        "describe_peak_mb": [round(done.peak_bytes / 1e6) for done in one],
        "worker_peak_mb": [round(done.peak_bytes / 1e6) for done in two],
    }
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
