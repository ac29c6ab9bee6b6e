"""A benchmark's record: its figures and their targets, with machine, versions, load and command."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.system.machine import look_at_machine
from c2t.runtime.system.portable.memory import peak_memory

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "optimum-onnx",
    "llama-cpp-python",
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A figure and the least that it must reach."""

    what: str
    value: float
    target: float
    reached: bool


def target(what: str, value: float, least: float) -> Target:
    """Compare a figure with its target."""
    return Target(what=what, value=value, target=least, reached=value >= least)


def target_lines(targets: list[Target]) -> list[str]:
    """One line for each target, for people."""
    return [
        f"{'reached' if t.reached else 'MISSED '}  {t.what}: {t.value:.3g}, target {t.target:g}"
        for t in targets
    ]


def record(name: str, *, threads: int | None, seed: int) -> dict[str, Any]:
    """The head of a record. The caller adds the figures, and `load_after` at the end.

    Args:
        name: Which benchmark this is.
        threads: Threads of each contestant; None: all cores.
        seed: Seed of all random data.
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
            **{name: version for name in PACKAGES if (version := _version(name))},
        },
        "threads": threads or machine.cores,
        "seed": seed,
        "load_before": load(),
    }


def finish(document: dict[str, Any], targets: list[Target], output: Path | None) -> None:
    """Print a record and its targets, and write it as JSON if a file is given."""
    document = {
        **document,
        "targets": [asdict(target) for target in targets],
        "load_after": load(),
    }
    text = json.dumps(document, indent=1) + "\n"
    print(text, end="")
    print("\n".join(target_lines(targets)))
    if output is not None:
        output.write_text(text, encoding="utf-8", newline="")


def load() -> float | None:
    """Load average of the last minute: processes that run or wait for a core; None on Windows."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def peak_resident_bytes() -> int:
    """Largest resident size of this process so far, in bytes, with mapped files."""
    return status_bytes("VmHWM") or peak_memory()


def status_bytes(key: str) -> int:
    """A size in bytes from /proc/self/status, such as "VmHWM"; 0 where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(f"{key}:")]
    return kilobytes[0] << 10 if kilobytes else 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
