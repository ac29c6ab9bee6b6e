"""`c2t serve` in a process of its own, as an operator would start it."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli_process import C2T, ENVIRONMENT

SECONDS = 60


class Served:
    """A running service, and what it said on standard error."""

    def __init__(self, *arguments: object, stdio: bool = False) -> None:
        pipe = subprocess.PIPE if stdio else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [str(C2T), "serve", *map(str, arguments)],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str) -> str:
        """What the first group of a pattern matches in what it said."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := re.search(pattern, self.said):
                return found[1]
            ended = self.process.poll() is not None and not self._reader.is_alive()
            assert not ended, self.said
            time.sleep(0.01)
        raise AssertionError(self.said)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line.decode()


@contextmanager
def served(bundle: Path, folder: Path, *arguments: object) -> Iterator[Served]:
    """A service that is killed at the end if it still runs."""
    service = Served(bundle, "--port", "0", "--jobs-folder", folder / "jobs", *arguments)
    try:
        yield service
    finally:
        service.process.kill()
        service.wait()
        assert service.process.stderr is not None
        service.process.stderr.close()
