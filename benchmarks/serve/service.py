"""A service in a process of its own, started and stopped as an operator would."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS = 120


@dataclass
class Service:
    """A running `c2t serve`.

    Args:
        process: It.
        folder: Holds its socket, jobs and keys.
        lines: What it said on standard error.
    """

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where HTTP is."""
        return self._said(r"HTTP and the page are at (http://\S+)")

    @property
    def sila_port(self) -> int:
        """The port of SiLA 2."""
        return int(self._said(r"SiLA 2 is at \S+, port (\d+)"))

    @property
    def certificate(self) -> bytes:
        """What SiLA 2 clients have to trust (PEM)."""
        return Path(self._said(r"clients to trust, is (\S+)")).read_bytes()

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.folder / "socket"

    def memory(self) -> int:
        """Bytes of memory that are its own, and not a file's that is mapped."""
        return int(psutil.Process(self.process.pid).memory_full_info().uss)

    def stop(self, seconds: float = 60) -> int:
        """Stop it in order; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def _said(self, pattern: str) -> str:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        message = f"the service did not say {pattern!r}:\n" + "".join(self.lines)
        raise RuntimeError(message)


def start_service(bundle: Path, folder: Path, *options: str, sila: bool = True) -> Service:
    """Start a service with all its doors and wait until it is ready.

    Args:
        bundle: The model.
        folder: For its socket, jobs and keys.
        options: More options of `c2t serve`.
        sila: Open the door for SiLA 2, too.
    """
    command = [sys.executable, "-c", "from c2t.cli import main; main()", "serve", str(bundle)]
    command += ["--port", "0", "--socket", str(folder / "socket")]
    command += ["--jobs-folder", str(folder / "jobs"), *options]
    if sila:
        command += ["--sila", "--sila-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    service = Service(process, folder)

    def collect() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            service.lines.append(line)

    threading.Thread(target=collect, daemon=True).start()
    service._said(r"(ready after)")
    return service
