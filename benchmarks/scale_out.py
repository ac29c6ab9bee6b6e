"""Time the same cells by `c2t describe` and by two Dask workers of this machine.

c2t demo
python benchmarks/scale_out.py c2t-demo/bundle CELLS.h5ad -o benchmarks/results/scale_out.json

The cells are those of an `.h5ad` file, drawn again and again. Each contestant has both cores, by
its own default: one process with two threads, or two workers of one thread each, beside which the
scheduler and the writer run. So the two workers pay for all of Dask.

Both run at the same time in turns: while one has its turn, all processes of the other are stopped
(SIGSTOP). Only its own turns count. So other work on the machine slows both down alike. The results
are compared byte for byte. Besides the whole command, each tenth of the cells is timed: what is
left without the start.

Memory is looked at between turns, while both are stopped: the resident set (what a process would
need alone) and the proportional one, in which pages of libraries that several processes map count
once.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import msgspec
import numpy as np
import psutil

from c2t.runtime.bench.record import Target, finish, record, target

C2T = Path(sysconfig.get_path("scripts")) / "c2t"
SEED = 20261129
TURN_SECONDS = 1.0
TENTHS = 10
START_CELLS = 8  # so few that a run of them is hardly more than its start
MOST_OVERHEAD = 10.0  # percent
# What runs in a process that does nothing: whether its memory is Python's, Dask's or describing.
IDLE = """
import json, psutil
from c2t.runtime.scale_out.cluster import Place, open_client

def sizes(process):
    about = process.memory_full_info()
    return {"resident_mb": round(about.rss / 1e6), "proportional_mb": round(about.pss / 1e6)}

children = lambda: [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
with open_client(Place(address="", processes=2)) as client:
    client.wait_for_workers(2)
    print(json.dumps(sizes(children()[0])))
"""
BARE = "import numpy, psutil; print(round(psutil.Process().memory_info().rss / 1e6))"


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("source", type=Path, help="an .h5ad file whose cells are repeated")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def repeat_cells(source: Path, path: Path, cells: int) -> Path:
    """Write a file with so many cells, drawn from another one."""
    adata = anndata.read_h5ad(source)
    rows = np.random.default_rng(SEED).integers(0, adata.n_obs, cells)
    adata = anndata.AnnData(adata.X[rows], var=adata.var)
    adata.obs_names = [f"cell{number}" for number in range(cells)]
    adata.write_h5ad(path)
    return path


class Contestant:
    """A run of `c2t describe` whose processes only run in its turns.

    Attributes:
        seconds: Of its turns so far.
        cpu: Processor seconds of all its processes, once it has ended.
        peaks: Largest sizes in MB so far: of the process that was started, of its largest child.
        passed: Its seconds when it had written each tenth of the cells, from the first on.
    """

    def __init__(self, arguments: list[Any], output: Path, cells: int) -> None:
        self.output = output
        self.seconds = self.cpu = 0.0
        self.passed: list[float] = []
        self._cells, self._written, self._read_bytes = cells, 0, 0
        self.peaks = {f"{who}_{size}_mb": 0.0 for who in ("command", "worker") for size in SIZES}
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [C2T, "describe", *arguments, "-o", output, "--force"]
        since = time.monotonic()
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            start_new_session=True,  # a group of its own, which is stopped and continued
        )
        self._stop(since)

    def turn(self) -> bool:
        """Run for a while; False: it has ended."""
        if self._process.returncode is not None:
            return False
        since = time.monotonic()
        os.killpg(self._process.pid, signal.SIGCONT)
        while time.monotonic() - since < TURN_SECONDS:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self.seconds += time.monotonic() - since
                self.cpu = usage.ru_utime + usage.ru_stime  # with the children it waited for
                self._process.returncode = os.waitstatus_to_exitcode(status)
                if self._process.returncode:
                    self._messages.seek(0)
                    sys.exit(self._messages.read().decode())
                return False
            time.sleep(0.002)
        self._stop(since)
        return True

    def look(self) -> None:
        """Look at the memory and the journal of its processes, which are stopped."""
        journal = self.output.with_name(f".{self.output.name}.partial")
        if journal.exists():
            with journal.open("rb") as stream:
                stream.seek(self._read_bytes)
                new = stream.read()
            self._written += new.count(b"\n")
            self._read_bytes += len(new)
        while (tenth := len(self.passed) + 1) < TENTHS:
            if 10 * (self._written - 1) < tenth * self._cells:  # the first line is a header
                break
            self.passed.append(self.seconds)
        command = psutil.Process(self._process.pid)
        for process in (command, *command.children(recursive=True)):
            about = process.memory_full_info()
            who = "command" if process == command else "worker"
            for size, value in (("resident", about.rss), ("proportional", about.pss)):
                name = f"{who}_{size}_mb"
                self.peaks[name] = max(self.peaks[name], value / 1e6)

    def kill(self) -> None:
        """End all its processes, if it has not ended."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _stop(self, since: float) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)
        self.seconds += time.monotonic() - since


SIZES = ("resident", "proportional")


def contest(bundle: Path, cells: Path, count: int, *, first: int) -> list[Contestant]:
    """Run `describe` and two workers in turns.

    Args:
        bundle: What describes.
        cells: The file; the outputs are written beside it.
        count: Its cells.
        first: Which of the two begins.

    Returns:
        Both, ended, `describe` first.
    """
    ways: list[list[Any]] = [[], ["--dask", "local:2"]]
    both: list[Contestant] = []
    try:
        for number, way in enumerate(ways):
            output = cells.with_name(f"{number}.jsonl")
            both.append(Contestant([bundle, cells, *way], output, count))
        left = both[first:] + both[:first]
        while left := [one for one in left if one.turn()]:
            for one in left:
                one.look()
    finally:
        for one in both:
            one.kill()
    outputs = [one.output.read_bytes() for one in both]
    if outputs[0] != outputs[1]:
        sys.exit("the two files differ")
    return both


def print_of(code: str) -> Any:
    """What a Python process prints, as JSON."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True)
    return msgspec.json.decode(done.stdout)


def percent(pairs: list[list[Contestant]], name: str) -> list[float]:
    """How much more the workers take of something than `describe`, pair by pair."""
    return [100 * (getattr(two, name) / getattr(one, name) - 1) for one, two in pairs]


def main() -> None:
    """Run both in turns, compare, and record; the record is whole after each pair of runs."""
    options = parse_options()
    document = record("scale_out", threads=None, seed=SEED)
    document |= {
        "cells": options.cells,
        "compared": "one process with 2 threads; 2 Dask workers with 1 thread each, their "
        "scheduler and the writer; both on the same cores, in turns",
        "turn_seconds": TURN_SECONDS,
        "idle_dask_worker": print_of(IDLE),
        "idle_python_with_numpy_resident_mb": print_of(BARE),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = repeat_cells(options.source, folder / "few.h5ad", START_CELLS)
        many = repeat_cells(options.source, folder / "many.h5ad", options.cells)
        starts: list[list[Contestant]] = []
        pairs: list[list[Contestant]] = []
        for number in range(options.runs):
            first = number % 2
            starts.append(contest(options.bundle, few, START_CELLS, first=first))
            pairs.append(contest(options.bundle, many, options.cells, first=first))
            finish(document | figures(starts, pairs), targets(pairs), options.output)


def targets(pairs: list[list[Contestant]]) -> list[Target]:
    """What must hold."""
    room = MOST_OVERHEAD - statistics.median(percent(pairs, "seconds"))
    memory = statistics.median(
        one.peaks["command_resident_mb"] / two.peaks["worker_resident_mb"] for one, two in pairs
    )
    return [
        target("room left below 10 % overhead, in percent", room, 0.0),
        target("memory of describe over that of a worker", memory, 0.9),
    ]


def figures(starts: list[list[Contestant]], pairs: list[list[Contestant]]) -> dict[str, Any]:
    """All that was measured.

    Args:
        starts: Runs over few cells, of `describe` and of the workers.
        pairs: Runs over all of them.
    """
    whole, cpu = percent(pairs, "seconds"), percent(pairs, "cpu")
    tenths = [
        100 * (t / o - 1)
        for one, two in pairs
        # The last ones may be passed within the last turn.
        for o, t in zip(np.diff(one.passed), np.diff(two.passed), strict=False)
    ]
    return {
        "runs": len(pairs),
        "results": "the same, byte for byte, in every run",
        "overhead_percent_median": round(statistics.median(whole), 1),
        "overhead_percent": [round(value, 1) for value in whole],
        "overhead_percent_without_the_start": {
            "tenths": len(tenths),
            "median": round(statistics.median(tenths), 1),
            "quartiles": [round(q, 1) for q in np.quantile(tenths, [0.25, 0.75]).tolist()],
        },
        "overhead_percent_of_cpu": [round(value, 1) for value in cpu],
        **times(pairs),
        f"start_with_{START_CELLS}_cells": times(starts),
        "peak_mb": {
            "describe": {size: peak(pairs, 0, f"command_{size}_mb") for size in SIZES},
            "worker": {size: peak(pairs, 1, f"worker_{size}_mb") for size in SIZES},
            "scheduler_and_writer": {size: peak(pairs, 1, f"command_{size}_mb") for size in SIZES},
        },
    }


def times(pairs: list[list[Contestant]]) -> dict[str, list[float]]:
    """Seconds of turns and of processors, run by run."""
    return {
        f"{who}_{name}": [round(getattr(pair[number], of), 2) for pair in pairs]
        for name, of in (("seconds", "seconds"), ("cpu_seconds", "cpu"))
        for number, who in enumerate(("describe", "two_workers"))
    }


def peak(pairs: list[list[Contestant]], which: int, name: str) -> list[int]:
    """Peaks of one of the two, run by run."""
    return [round(pair[which].peaks[name]) for pair in pairs]


if __name__ == "__main__":
    main()
