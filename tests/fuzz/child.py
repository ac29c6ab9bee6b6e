"""One case in a child process, with limits of time and memory, and what became of it."""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from c2t.runtime.system.errors import C2TError

# The columns of the table. All but the first two are faults.
OUTCOMES = ("ok", "clean", "no hint", "traceback", "hang", "memory", "crash")
GOOD = OUTCOMES[:2]
SPACE_BYTES = 3 << 30  # address space of a child beyond what it inherits
RESIDENT_BYTES = 1 << 30  # memory in use that counts as a fault even where it does no harm


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of input.

    Args:
        name: In the table and on the command line.
        make: Writes a broken input into a folder, by a generator; returns what `use` takes.
        use: Reads it as c2t does.
        seconds: Longer is a hang.
        prepare: Writes what all cases need, once, into a folder that stays.
        loads: Modules to load before the first fork.
    """

    name: str
    make: Callable[[Path, Random], Any]
    use: Callable[[Any], None]
    seconds: float = 20.0
    prepare: Callable[[Path], None] | None = None
    loads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a case; `said` is the error or the traceback."""

    outcome: str
    said: str


def try_case(target: Target, seed: int, number: int, kept: Path) -> Result:
    """Run one case in a child of this process; the input of a fault stays in `kept`."""
    folder = Path(tempfile.mkdtemp(prefix="c2t-fuzz-"))
    try:
        result = _in_child(target, f"{target.name}/{seed}/{number}", folder)
        if result.outcome not in GOOD:
            place = kept / f"{target.name}-{seed}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(folder, place, symlinks=True, ignore=_only_files)
            (place / "said.txt").write_text(f"{result.outcome}\n{result.said}\n")
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _only_files(folder: str, names: list[str]) -> set[str]:
    """What cannot be copied: pipes would be waited for."""
    paths = {name: Path(folder) / name for name in names}
    return {n for n, path in paths.items() if not (path.is_file() or path.is_dir())}


def _in_child(target: Target, seed: str, folder: Path) -> Result:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        outcome, said = "traceback", ""
        try:
            _limit(target.seconds)
            outcome, said = _use(target, seed, folder)
        finally:
            os.write(writing, f"{outcome}\n{said[-4000:]}".encode("utf-8", "replace"))
            os._exit(0)
    os.close(writing)
    said, hung = _read_all(reading, time.monotonic() + target.seconds)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    outcome, _, text = said.partition("\n")
    if hung or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Result(outcome="hang", said=f"no end after {target.seconds:.0f} s")
    if os.WIFSIGNALED(status) or not outcome:
        # Libraries abort where an allocation fails: without a signal's name nobody would know.
        return Result(outcome="crash", said=f"status {status}, {usage.ru_maxrss >> 10} MiB")
    if outcome in GOOD and usage.ru_maxrss << 10 > RESIDENT_BYTES + _resident():
        return Result(outcome="memory", said=f"{usage.ru_maxrss >> 10} MiB in use; {text}")
    return Result(outcome=outcome, said=text)


def _read_all(reading: int, deadline: float) -> tuple[str, bool]:
    """What a child writes until it ends, and whether it did not in time."""
    parts = []
    with os.fdopen(reading, "rb", buffering=0) as stream:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([stream], [], [], left)[0]:
                part = stream.read(1 << 16)
                if not part:
                    return b"".join(parts).decode("utf-8", "replace"), False
                parts.append(part)
    return "", True


def _limit(seconds: float) -> None:
    """Limits of this process; its output goes nowhere."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + SPACE_BYTES, space + SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (4 * most, 4 * most))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _use(target: Target, seed: str, folder: Path) -> tuple[str, str]:
    """Make and use an input; the outcome in words."""
    try:
        given = target.make(folder, Random(seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.use(given)
    except C2TError as error:
        good = error.problem.strip() and error.hint.strip()
        return "clean" if good else "no hint", f"{error.problem}\n{error.hint}"
    except MemoryError:
        return "memory", traceback.format_exc()
    except OSError as error:  # the command line names the file and the reason, see `add_command`
        if error.errno is not None:
            return "clean", str(error)
        return "traceback", traceback.format_exc()
    except BaseException:  # also what panics of Rust become
        return "traceback", traceback.format_exc()
    return "ok", ""
