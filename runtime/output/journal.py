"""The journal: what a run has described so far, so that the next one goes on from there.

It lies beside the output as `.NAME.partial`: a header line that says what the run is, then one line
a cell, appended as soon as the cell is described. A line is JSON, a tab and the JSON's CRC-32.

One decision: nothing in it is trusted. A line counts when its newline is on the disk; whatever
follows the last newline was cut off by a kill and is dropped. Every other line must have its
checksum and stand for the very cell whose turn it is, or the journal is refused.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Protocol, TypeVar

import msgspec

from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.system.append_file import open_regular
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.portable.file_lock import try_lock

JOURNAL_VERSION = 4
SYNC_SECONDS = 5.0  # a power cut may cost this much work; a kill costs none
RESTART_HINT = "pass --restart to forget it, or choose another output"
ATTEMPTS = 5  # to open a journal that others remove at the same time


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


class Kept(Protocol):
    """What is kept of a cell: whatever msgspec can encode, with the cell's row."""

    @property
    def row(self) -> int:
        """Of the file of cells."""


K = TypeVar("K", bound=Kept)


class Journal(Generic[K]):
    """An open journal; use it as a context manager. Only one process can have it open.

    Args:
        path: See `journal_path`.
        mark: What this run is.
        rows: The run's rows of the file of cells, in order; line k is about the k-th.
        kind: What is kept of a cell, such as `Record`.
        restart: Forget what an earlier run left.
        watch: Told of each cell that it holds, once, those of an earlier run first: where its line
            begins, and what it says.

    Attributes:
        done: How many cells it holds.

    Raises:
        OutputError: It belongs to another run, is damaged, in use, or cannot be written or locked.
    """

    def __init__(
        self,
        path: Path,
        mark: RunMark,
        rows: Sequence[int],
        *,
        kind: type[K],
        restart: bool = False,
        watch: Callable[[int, K], None] = lambda start, record: None,
    ) -> None:
        self.path = path
        self.done = 0
        self._end = 0  # where the next line will begin
        self._rows = rows
        self._kind = kind
        self._watch = watch
        self._encoder = msgspec.json.Encoder()
        self._stream = open_locked(path)
        try:
            if restart:
                self._stream.truncate(0)
            self._start = self._resume(mark)
        except BaseException:
            self._stream.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal[K]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def append(self, record: K) -> None:
        """Keep one more cell.

        Raises:
            OutputError: The disk is full.
        """
        assert record.row == self._rows[self.done]
        line = checked_line(self._encoder.encode(record))
        with self._writing():
            self._stream.write(line)
            self._stream.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()
        start, self._end = self._end, self._end + len(line)
        self.done += 1
        self._watch(start, record)

    def sync(self) -> None:
        """Have all that it holds on the disk.

        Raises:
            OutputError: The disk is full.
        """
        with self._writing():
            os.fsync(self._stream.fileno())
        self._synced = time.monotonic()

    def records(self) -> Iterator[K]:
        """Read the cells back, in their order, from the file that is held open.

        Raises:
            OutputError: The file was changed meanwhile.
        """
        position = self._start
        for number in range(self.done):
            self._stream.seek(position)
            line = self._stream.readline()
            yield self._record(line, number)
            position += len(line)

    def remove(self) -> None:
        """Delete the journal: the output is in place. One that another run has put there stays."""
        if not _is_at(self._stream, self.path):
            return
        if sys.platform == "win32":  # what is open cannot be deleted, also not by another run
            self._stream.close()
            with contextlib.suppress(PermissionError):
                self.path.unlink(missing_ok=True)
        else:
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.close()
            problem = f"cannot write {self.path}: {error.strerror}"
            hint = "make room and run the same command again: it goes on from there"
            raise OutputError(problem, hint=hint) from error

    def _resume(self, mark: RunMark) -> int:
        """Read what is there, cut off a broken last line, leave the position at the end.

        Returns:
            Where the first cell's line begins.
        """
        self._stream.seek(0)
        header = self._stream.readline()
        if not header.endswith(b"\n"):
            self._stream.seek(0)
            self._stream.truncate()
            header = self._encoder.encode(mark) + b"\n"
            self._stream.write(header)
            self._stream.flush()
            self._end = len(header)
            return self._end
        check_same_run(self.path, header, mark)
        end = len(header)
        for number, line in enumerate(iter(self._stream.readline, b"")):
            if not line.endswith(b"\n"):
                break
            record = self._record(line, number)
            self._watch(end, record)
            end += len(line)
            self.done += 1
        self._stream.truncate(end)
        self._stream.seek(end)
        self._end = end
        return len(header)

    def _record(self, line: bytes, number: int) -> K:
        """The record of the `number`-th cell's line, from 0."""
        where = f"{self.path}, line {number + 2},"
        if number >= len(self._rows):
            problem = f"{where} is one too many: the run has {len(self._rows):,} cells"
            raise OutputError(problem, hint=RESTART_HINT)
        record = read_line(line, where, self._kind)
        if record.row != self._rows[number]:
            problem = f"{where} is about row {record.row:,}, not row {self._rows[number]:,}"
            raise OutputError(problem, hint=RESTART_HINT)
        return record


def check_same_run(path: Path, header: bytes, mark: RunMark) -> None:
    """Refuse what another run has left.

    Args:
        path: Where it lies.
        header: Its first line, which is the mark of its run.
        mark: What this run is.

    Raises:
        OutputError: It says in what the runs differ.
    """
    earlier = decode_json(
        header,
        RunMark,
        name=path,
        error=OutputError,
        hint=RESTART_HINT,
        what="a journal of this c2t",
    )
    changes = list(_differences(earlier, mark))
    if changes:
        problem = f"{path} was left by another run, which differs in: {'; '.join(changes)}"
        raise OutputError(problem, hint=RESTART_HINT)


def read_line(line: bytes, where: str, kind: type[K]) -> K:
    """What a line of a journal says, newline included or not.

    Args:
        where: What messages call it.
        kind: What it keeps.

    Raises:
        OutputError: It is damaged.
    """
    content = line_content(line, where)
    return decode_json(content, kind, name=where, error=OutputError, hint=RESTART_HINT)


def line_content(line: bytes, where: str) -> bytes:
    """The JSON of a line with a checksum; see `checked_line`.

    Raises:
        OutputError: It is damaged.
    """
    content, _, checksum = line.rstrip(b"\n").rpartition(b"\t")
    if checksum != _checksum(content):
        problem = f"{where} is damaged: its checksum is not that of its content"
        raise OutputError(problem, hint=RESTART_HINT)
    return content


def checked_line(content: bytes) -> bytes:
    """A line of a journal: JSON, a tab and its checksum."""
    return content + b"\t" + _checksum(content) + b"\n"


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)


def open_locked(path: Path) -> IO[bytes]:
    """Open a journal, or make it, and keep other processes out of it.

    Raises:
        OutputError: It is in use, no regular file, or cannot be written or locked.
    """
    for _ in range(ATTEMPTS):
        stream = _open_regular(path)
        try:
            _lock(stream, path)
            if _is_at(stream, path):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # another run has finished and removed it between opening and locking
    problem = f"{path} is removed by others as often as it is made"
    raise OutputError(problem, hint="choose another output")


def _is_at(stream: IO[bytes], path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _open_regular(path: Path) -> IO[bytes]:
    handle = open_regular(
        path,
        mode=0o666,
        error=OutputError,
        hint="choose a place that you may write to",
        irregular_hint="remove it, or choose another output",
    )
    return os.fdopen(handle, "r+b")


def _lock(stream: IO[bytes], path: Path) -> None:
    try:
        try_lock(stream.fileno())
    except BlockingIOError as error:
        problem = f"another run is writing {path}"
        raise OutputError(problem, hint="wait for it, or choose another output") from error
    except OSError as error:
        # Two runs on one output would mix their lines, and nothing would show it.
        problem = f"{path} cannot be locked: {error.strerror}"
        hint = "write to a local disk, and copy the result to this one"
        raise OutputError(problem, hint=hint) from error


def _differences(earlier: RunMark, mark: RunMark) -> Iterator[str]:
    if earlier.bundle != mark.bundle:
        yield f"bundle ({earlier.bundle[:12]}, now {mark.bundle[:12]})"
    if earlier.cells != mark.cells:
        same_name = earlier.cells.name == mark.cells.name
        change = "which has changed since" if same_name else f"now {mark.cells.name}"
        yield f"file of cells ({earlier.cells.name}, {change})"
    if (earlier.rows, earlier.n_rows) != (mark.rows, mark.n_rows):
        yield f"cells chosen ({earlier.n_rows:,}, now {mark.n_rows:,})"
    for name in sorted(earlier.options.keys() | mark.options.keys()):
        then, now = earlier.options.get(name), mark.options.get(name)
        if then != now:
            yield f"{name} ({then}, now {now})"
    if (earlier.c2t_version, earlier.journal) != (mark.c2t_version, mark.journal):
        yield f"version of c2t ({earlier.c2t_version}, now {mark.c2t_version})"
