"""A process that appends to an audit trail and kills itself at one of its system calls.

It is a program of its own: `python -P audit_kill.py FOLDER LINES CALL WHEN`. It prints the number
of each line as soon as that is acknowledged. The CALL-th call from the last line on, counted from
0, is the one at which it dies: before it, after it, or halfway through what it writes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audit_cases import Files

from c2t.runtime.audit.line import Action, Details

# What changes a file, a name or a lock. Killed at a call that only looks, a process leaves what it
# leaves after the call before. `benchmarks/audit_trail.py` kills it at those, too.
CALLS = (
    *("open", "write", "fsync", "fdatasync", "ftruncate", "close"),
    *("replace", "rename", "link", "unlink", "mkdir", "chmod"),
)
WHENS = ("before", "after", "halfway")
NEVER = 10_000


class Killer:
    """Counts system calls, and ends the process without any farewell at one of them."""

    def __init__(self, call: int, when: str) -> None:
        self.left = call
        self.when = when
        self.armed = False
        self.made: list[str] = []

    def wrap(self, name: str) -> None:
        real = getattr(os, name)

        def called(*arguments: Any, **options: Any) -> Any:
            if not self.armed:
                return real(*arguments, **options)
            mine, self.left = self.left == 0, self.left - 1
            self.made.append(name)
            if mine and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine and self.when == "halfway" and name == "write":
                handle, content = arguments
                real(handle, bytes(content)[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **options)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, name, called)


def main(folder: Path, lines: int, call: int, when: str) -> None:
    """Append lines; the calls of the last one are counted, or of all if there is only one."""
    import fcntl

    files = Files(folder / "trail.jsonl", folder / "trail.key", folder / "trail.head")
    killer = Killer(call, when)
    for name in CALLS:
        killer.wrap(name)
    real = fcntl.flock
    os.flock = real  # type: ignore[attr-defined]
    killer.wrap("flock")
    fcntl.flock = os.flock  # type: ignore[attr-defined]
    killer.armed = lines == 1
    with files.open() as trail:
        for number in range(lines):
            killer.armed = killer.armed or number == lines - 1
            seq = trail.record(Action.chunk, Details(cells=number))
            print(seq, flush=True)
    print("calls", *killer.made, flush=True)


def run_killed(folder: Path, lines: int, call: int, when: str) -> tuple[int, list[int], list[str]]:
    """Run that process.

    Returns:
        Its exit code, the numbers of the lines it acknowledged, and, if it lived, its calls.
    """
    done = subprocess.run(
        [sys.executable, "-P", __file__, str(folder), str(lines), str(call), when],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert not done.stderr, done.stderr
    said = done.stdout.split("\n")[:-1]
    calls = [line.split()[1:] for line in said if line.startswith("calls")]
    return done.returncode, [int(n) for n in said if n.isdigit()], calls[0] if calls else []


def kill_at_every_call(
    new_files: Callable[[], Files], lines: int, after: Callable[[Files, list[int]], None]
) -> dict[str, int]:
    """Kill an append at each of its calls, in each way, and look at what is left.

    Args:
        new_files: Makes a place for a trail.
        lines: How many are written; the last one is killed. 1: the very first, with its files.
        after: Given the place and the acknowledged numbers, checks them.

    Returns:
        How often it was killed in each way.
    """
    code, _, calls = run_killed(new_files().trail.parent, lines, NEVER, "before")
    assert code == 0
    killed = dict.fromkeys(WHENS, 0)
    for call, name in enumerate(calls):
        for when in WHENS if name == "write" else WHENS[:2]:
            files = new_files()
            code, acknowledged, _ = run_killed(files.trail.parent, lines, call, when)
            assert code == -signal.SIGKILL, (call, when, code)
            killed[when] += 1
            after(files, acknowledged)
    return killed


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
