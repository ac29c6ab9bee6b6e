"""An audit trail under attack and under `kill -9`: what is found, and what is left.

    PYTHONPATH=tests/support python -P benchmarks/audit_trail.py -o FILE.json

- 1,000 random tamperings of seven kinds by somebody without the key: how many are found, and for
  how many a line is named that was really touched.
- `strace` kills an append at each of its system calls, as the call is entered: what the calls
  before it did is done. Then the trail must check, hold all that was acknowledged, and go on. The
  very first append, with its files, is killed in the same way.
- How long an append takes, beside a bare write and sync of as many bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from audit_cases import Files, tamper_many, write_trail

from c2t.runtime.audit.line import Action, read_line
from c2t.runtime.bench.record import record

TAMPERINGS = 1000
LINES = 40
SEED = 16
APPEND = """
import os, sys
from pathlib import Path
from c2t.runtime.audit.line import Action, Details
from audit_cases import Files
folder, lines = Path(sys.argv[1]), int(sys.argv[2])
files = Files(folder / "trail.jsonl", folder / "trail.key", folder / "trail.head")
if lines == 1:
    os.getppid()  # where the calls that count begin
with files.open() as trail:
    for number in range(lines):
        if lines > 1 and number == lines - 1:
            os.getppid()
        seq = trail.record(Action.chunk, Details(cells=number))
        os.write(1, b"%d\\n" % seq)
    os.getppid()
"""
CALL = re.compile(r"^(?:\[pid +\d+\] )?(\w+)\(")


def tampering(folder: Path) -> dict[str, Any]:
    """Tamper with a trail many times."""
    files = Files.new(folder / "tampering")
    write_trail(files, LINES, SEED)
    since = time.perf_counter()
    counts = tamper_many(files, TAMPERINGS, SEED)
    seconds = time.perf_counter() - since
    assert counts["done"].total() == counts["found"].total()
    return {
        "lines": LINES,
        "tamperings": counts["done"].total(),
        "found": counts["found"].total(),
        "a touched line is named": counts["named"].total(),
        "kinds": dict(counts["done"]),
        "seconds": round(seconds, 2),
    }


def traced(folder: Path, lines: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the append under strace; its log goes to a file."""
    log = folder / "strace"
    command = ["strace", "-f", "-o", str(log), *options, sys.executable, "-P", "-c", APPEND]
    return subprocess.run(
        [*command, str(folder), str(lines)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def calls_of(folder: Path, lines: int) -> list[tuple[str, int]]:
    """The calls of an append: the name of each, and which of that name in the process it is."""
    done = traced(folder, lines)
    assert done.returncode == 0, done.stderr
    seen: Counter[str] = Counter()
    calls: list[tuple[str, int]] = []
    inside = False
    for line in (folder / "strace").read_text(errors="replace").splitlines():
        found = CALL.match(line.partition(" ")[2].lstrip())
        if found is None:
            continue
        name = found[1]
        seen[name] += 1
        if name == "getppid":
            inside = not inside
        elif inside:
            calls.append((name, seen[name]))
    return calls


def killed(folder: Path, lines: int) -> dict[str, Any]:
    """Kill an append at each of its calls."""
    place = folder / f"calls{lines}"
    Files.new(place)
    calls = calls_of(place, lines)
    outcomes: Counter[str] = Counter()
    acknowledged_lines = 0
    for number, (name, which) in enumerate(calls):
        files = Files.new(folder / f"killed{lines}-{number}")
        inject = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={which}")
        done = traced(files.trail.parent, lines, *inject)
        assert done.returncode in (-9, 137), (name, which, done.returncode, done.stderr)
        acknowledged = [int(n) for n in done.stdout.split()]
        acknowledged_lines += len(acknowledged)
        outcomes[judge(files, acknowledged)] += 1
        shutil.rmtree(files.trail.parent)
    return {
        "lines": lines,
        "calls": len(calls),
        "kinds of calls": dict(Counter(name for name, _ in calls)),
        "killed, checked, went on": sum(outcomes.values()),
        "left": dict(outcomes),
        "acknowledged lines, all there": acknowledged_lines,
    }


def judge(files: Files, acknowledged: list[int]) -> str:
    """What a kill left; fails if anything acknowledged is missing, or the trail does not check."""
    if files.head.exists():
        checked = files.check()
        assert not checked.faults, checked
        left = "as it was" if not checked.notes else checked.notes[0].split(":")[0]
        left = re.sub(r"[\d,]+", "N", left)
    else:
        assert not files.trail.exists() or not files.trail.stat().st_size
        assert not acknowledged
        left = "nothing yet"
    with files.open() as trail:
        trail.record(Action.start)
    checked = files.check()
    assert not checked.faults
    assert not checked.notes
    lines = [read_line(line) for line in files.trail.read_bytes().splitlines()]
    assert set(acknowledged) <= {line.seq for line in lines if line and line.action == "chunk"}
    return left


def times(folder: Path, count: int = 200) -> dict[str, float]:
    """Milliseconds of an append, and of a write and sync of as many bytes; they take turns."""
    files = Files.new(folder / "times")
    appends, bare = [], []
    handle = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with files.open() as trail:
        for _ in range(count):
            since = time.perf_counter()
            trail.record(Action.chunk)
            appends.append(time.perf_counter() - since)
            since = time.perf_counter()
            os.write(handle, b"x" * 400)
            os.fdatasync(handle)
            bare.append(time.perf_counter() - since)
    os.close(handle)
    return {
        "append_ms": round(1e3 * statistics.median(appends), 2),
        "write_and_sync_ms": round(1e3 * statistics.median(bare), 2),
        "median_of_ratios": round(
            statistics.median(a / b for a, b in zip(appends, bare, strict=True)), 2
        ),
    }


def main() -> None:
    """Do all of it, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    output = parser.parse_args().output
    document = record("audit_trail", threads=1, seed=SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        document["tampering"] = tampering(folder)
        document["kill"] = [killed(folder, 1), killed(folder, 3)]
        document["times"] = times(folder)
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
