"""Hidden names for what is being written, and what becomes of them when their writer is killed.

`.NAME.WRITER-HEX.tmp` is a file or folder that is not finished, `.NAME.WRITER-HEX.old` a folder
that was there before and stands aside for an instant, `.NAME.WRITER-HEX.renaming` a note about a
file that is put in place together with others.

One decision: only what a writer left that is surely gone is touched. WRITER says the machine and
the process: gone is a process of this machine that does not run, or of another machine (or of this
one before it started anew) where nothing has changed for a day.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from c2t.runtime.system.portable.processes import runs

SECONDS_UNTIL_OLD = 24 * 3600.0
_HIDDEN = re.compile(
    r"((?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-)?[0-9a-f]{8}\.(?P<use>tmp|old|renaming)"
)


def temporary_path(place: Path, use: str = "tmp") -> Path:
    """A new hidden name beside a place: for "tmp", "old" or "renaming"."""
    writer = f"{_machine()}-{os.getpid()}"
    return place.with_name(f".{place.name}.{writer}-{secrets.token_hex(4)}.{use}")


def remove_litter(place: Path) -> None:
    """Remove what killed writers of a place left beside it, and put back what they took away."""
    for path, use in _left_behind(place):
        with contextlib.suppress(OSError):
            if use == "old" and not os.path.lexists(place):
                path.rename(place)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif use == "tmp" or not _is_about(path, place):
                path.unlink()


def note_renaming(temporary: Path, place: Path) -> Path:
    """Write down that a file is about to be put in place; the note is removed when all are."""
    note = temporary_path(place, "renaming")
    note.write_text(_identity(temporary), encoding="ascii", newline="")
    return note


def was_left_half_done(place: Path) -> bool:
    """Whether a file was put there by a writer that was killed before it put all of them there."""
    return any(use == "renaming" and _is_about(path, place) for path, use in _left_behind(place))


def remove_notes(place: Path) -> None:
    """Forget that a writer was killed: all files are in place now."""
    for path, use in _left_behind(place):
        if use == "renaming":
            path.unlink(missing_ok=True)


def _left_behind(place: Path) -> Iterator[tuple[Path, str]]:
    """The hidden names of a place whose writers are gone, with their uses."""
    prefix = f".{place.name}."
    try:
        names = [path.name for path in place.parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        parts = _HIDDEN.fullmatch(name, len(prefix))
        if parts is not None and _is_gone(place.with_name(name), parts):
            yield place.with_name(name), parts["use"]


def _is_gone(path: Path, parts: re.Match[str]) -> bool:
    if parts["machine"] == _machine():
        return not runs(int(parts["process"]))
    return time.time() - _last_change(path) > SECONDS_UNTIL_OLD


def _last_change(path: Path) -> float:
    """When a file was changed, or the last one in a folder."""
    times = [0.0]
    with contextlib.suppress(OSError):
        times.append(path.lstat().st_mtime)
    for folder, _, names in os.walk(path):
        for name in [".", *names]:
            with contextlib.suppress(OSError):
                times.append((Path(folder) / name).lstat().st_mtime)
    return max(times)


def _is_about(note: Path, place: Path) -> bool:
    """Whether a note is about the very file that is in place."""
    try:
        return note.read_text(encoding="ascii") == _identity(place)
    except (OSError, ValueError):
        return False


def _identity(path: Path) -> str:
    status = path.lstat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


@cache
def _machine() -> str:
    """This machine since it was started; a container has processes of its own."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return f"{zlib.crc32(' '.join(parts).encode(errors='replace')):08x}"
