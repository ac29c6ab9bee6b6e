"""What must stand beside a figure: machine, versions, load, command."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.system.machine import look_at_machine

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "optimum-onnx",
    "llama-cpp-python",
)


def record(name: str, *, threads: int | None, seed: int) -> dict[str, Any]:
    """The head of a result file; `load_after` is for the caller to add.

    Args:
        name: The benchmark.
        threads: Threads of each contestant; None: all cores.
        seed: Of everything random.
    """
    machine = look_at_machine()
    return {
        "benchmark": name,
        # Names without folders: a record is read on other machines.
        "command": shlex.join(Path(word).name if "/" in word else word for word in sys.argv),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": machine.system,
            "cpu": machine.cpu,
            "cores": machine.cores,
            "cpu_features": list(machine.cpu_features),
            "memory_bytes": machine.memory_bytes,
        },
        "versions": {
            "c2t": c2t.__version__,
            "python": platform.python_version(),
            **{package: found for package in PACKAGES if (found := _version(package))},
        },
        "threads": threads or machine.cores,
        "seed": seed,
        "load_before": load(),
    }


def load() -> float:
    """Processes that want a core, over the last minute."""
    return round(os.getloadavg()[0], 2)


def peak_resident_bytes() -> int:
    """Largest resident size of this process so far, mapped files included."""
    return status_bytes("VmHWM")


def status_bytes(key: str) -> int:
    """A size from this process's status; 0 where the system has none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) << 10 if found else 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
