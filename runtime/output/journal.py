"""The journal: what a run has described so far, so that the next one goes on from there.

It lies beside the output as `.NAME.partial`: a header line that says what the run is, then one line
of JSON a cell, appended as soon as the cell is described. One decision: a line counts when its
newline is on the disk; whatever follows the last newline was cut off by a kill and is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec

from c2t.runtime.output.record import Record
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError

JOURNAL_VERSION = 2
# Of the file of cells, hashed at both ends: enough to tell files apart, instant on 50 GB. Not its
# time, which a copy changes.
HEAD_BYTES = 1 << 20
SYNC_SECONDS = 5.0  # a power cut may cost this much work; a kill costs none


@dataclass(frozen=True, kw_only=True)
class CellsMark:
    """What tells one file of cells from another, or from itself after a change."""

    name: str
    bytes: int
    head_sha256: str
    tail_sha256: str

    @staticmethod
    def of(path: Path) -> CellsMark:
        """Look at a file."""
        with path.open("rb") as stream:
            head = hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest()
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - HEAD_BYTES))
            tail = hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest()
        return CellsMark(name=path.name, bytes=size, head_sha256=head, tail_sha256=tail)


@dataclass(frozen=True, kw_only=True)
class RunMark:
    """What a run is. Two runs with the same mark describe the same cells in the same way."""

    bundle: str  # digest
    cells: CellsMark
    rows: str  # SHA-256 of the selected rows
    n_rows: int
    options: dict[str, str] = field(default_factory=dict)
    c2t_version: str = ""
    journal: int = JOURNAL_VERSION


def journal_path(target: Path) -> Path:
    """Where the journal of an output lies."""
    return target.with_name(f".{target.name}.partial")


class Journal:
    """An open journal; use it as a context manager. Only one process can have it open.

    Attributes:
        done: How many cells it holds.
    """

    def __init__(self, path: Path, mark: RunMark, *, restart: bool = False) -> None:
        """Open the journal at `path`, or start it.

        Args:
            path: See `journal_path`.
            mark: What this run is.
            restart: Forget what an earlier run left.

        Raises:
            OutputError: It belongs to another run, is damaged, in use, or cannot be written.
        """
        self.path = path
        self.done = 0
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Record)
        try:
            self._stream: IO[bytes] = path.open("a+b")
        except OSError as error:
            problem = f"cannot write {path}: {error.strerror}"
            raise OutputError(problem, hint="choose a place that you may write to") from error
        try:
            self._lock()
            if restart:
                self._stream.truncate(0)
            self._resume(mark)
        except BaseException:
            self._stream.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def append(self, record: Record) -> None:
        """Keep one more cell.

        Raises:
            OutputError: The disk is full.
        """
        try:
            self._stream.write(self._encoder.encode(record) + b"\n")
            self._stream.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.close()
            problem = f"cannot write {self.path}: {error.strerror}"
            hint = "make room and run the same command again: it goes on from there"
            raise OutputError(problem, hint=hint) from error
        self.done += 1

    def records(self) -> Iterator[Record]:
        """Read the cells back, in the order in which they were appended."""
        with self.path.open("rb") as stream:
            stream.readline()
            for line in stream:
                yield self._decoder.decode(line)

    def remove(self) -> None:
        """Delete the journal: the output is in place."""
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        if sys.platform == "win32":  # an open file cannot be opened twice for writing there
            return
        import fcntl

        try:
            fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = f"another run is writing {self.path}"
            raise OutputError(problem, hint="wait for it, or choose another output") from error
        except OSError:
            # File systems without locks (some NFS mounts): two runs at once are then not noticed.
            return

    def _resume(self, mark: RunMark) -> None:
        """Read what is there, cut off a broken last line, leave the position at the end."""
        self._stream.seek(0)
        header = self._stream.readline()
        if not header.endswith(b"\n"):
            self._stream.seek(0)
            self._stream.truncate()
            self._stream.write(self._encoder.encode(mark) + b"\n")
            self._stream.flush()
            return
        self._check_mark(header, mark)
        end = self._stream.tell()
        for number, line in enumerate(self._stream, start=2):
            if not line.endswith(b"\n"):
                break
            try:
                self._decoder.decode(line)
            except msgspec.DecodeError as error:
                problem = f"{self.path}, line {number}, is damaged: {error}"
                raise OutputError(problem, hint="pass --restart to describe all again") from error
            end += len(line)
            self.done += 1
        self._stream.truncate(end)
        self._stream.seek(end)
        if self.done > mark.n_rows:
            problem = f"{self.path} holds {self.done:,} cells, the run has {mark.n_rows:,}"
            raise OutputError(problem, hint="pass --restart to describe all again")

    def _check_mark(self, header: bytes, mark: RunMark) -> None:
        hint = "pass --restart to forget it, or choose another output"
        found = decode_json(
            header, RunMark, name=self.path, error=OutputError, hint=hint, what="a journal of c2t"
        )
        changes = list(_differences(found, mark))
        if changes:
            problem = f"{self.path} was left by another run, which differs in: {'; '.join(changes)}"
            raise OutputError(problem, hint=hint)


def _differences(found: RunMark, mark: RunMark) -> Iterator[str]:
    if found.bundle != mark.bundle:
        yield f"bundle ({found.bundle[:12]}, now {mark.bundle[:12]})"
    if found.cells != mark.cells:
        same_name = found.cells.name == mark.cells.name
        change = "which has changed since" if same_name else f"now {mark.cells.name}"
        yield f"file of cells ({found.cells.name}, {change})"
    if (found.rows, found.n_rows) != (mark.rows, mark.n_rows):
        yield f"cells chosen ({found.n_rows:,}, now {mark.n_rows:,})"
    for name in sorted(found.options.keys() | mark.options.keys()):
        then, now = found.options.get(name), mark.options.get(name)
        if then != now:
            yield f"{name} ({then}, now {now})"
    if (found.c2t_version, found.journal) != (mark.c2t_version, mark.journal):
        yield f"version of c2t ({found.c2t_version}, now {mark.c2t_version})"
