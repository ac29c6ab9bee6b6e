"""A Dask cluster on this machine: a scheduler and workers as processes that can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60.0
PROTOCOL = "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME"
ENVIRONMENT = {
    **os.environ,
    "PYTHONSAFEPATH": "1",
    "OMP_NUM_THREADS": "1",
    # Nothing of a cluster needs to be found by its port but the scheduler.
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
}


class Cluster:
    """A scheduler, and workers without nannies: a killed one stays dead.

    Attributes:
        address: The scheduler's.
        workers: The processes of the workers.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._environment = {**ENVIRONMENT, **settings}
        self._protocol = settings.get(PROTOCOL, "tcp")
        self._logs = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler, log = self._start(
            "scheduler", "--host", f"{self._protocol}://127.0.0.1", "--port", "0"
        )
        self.address = _wait_for(log, rf"Scheduler at:\s+({self._protocol}://\S+)")

    def add_worker(self, *options: str, cwd: Path | None = None) -> None:
        """Start a worker, and wait until the scheduler has it."""
        worker, log = self._start(
            "worker", self.address, "--nthreads", "1", "--no-nanny", *options, cwd=cwd
        )
        self.workers.append(worker)
        _wait_for(log, rf"Registered to:\s+({self._protocol}://\S+)")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL: nothing of it ends in order."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """Kill what is left."""
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                self.kill(process)

    def _start(
        self, *arguments: str, cwd: Path | None = None
    ) -> tuple[subprocess.Popen[bytes], Path]:
        self._logs += 1
        log = self._folder / f"dask-{self._logs}.log"
        command = [sys.executable, "-P", "-m", "dask", *arguments, "--dashboard-address", ":0"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                env=self._environment,
                cwd=cwd or self._folder,
            )
        return process, log


@contextmanager
def dask_cluster(
    folder: Path, *workers: tuple[str, ...], settings: dict[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster with workers of these options, and settings of Dask in its environment."""
    cluster = Cluster(folder, settings or {})
    try:
        for options in workers:
            cluster.add_worker(*options)
        yield cluster
    finally:
        cluster.close()


def _wait_for(log: Path, pattern: str) -> str:
    since = time.monotonic()
    while time.monotonic() - since < SECONDS:
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    message = f"no {pattern} in {log.read_text(errors='replace')}"
    raise TimeoutError(message)
