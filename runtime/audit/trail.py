"""An open audit trail: lines are appended by threads and processes, in turn.

One decision: the line is written and synced first, then the head. What was acknowledged is in both.
A process that is killed in between leaves one line that its head does not know; or, killed while it
writes that line, the beginning of one. The next one to append takes the line over, or cuts the
beginning off and says so in a line of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import c2t
from c2t.runtime.audit.head import Head, make_head, read_head, sync, write_head
from c2t.runtime.audit.key import AuditKey, read_key, read_or_make_key
from c2t.runtime.audit.line import (
    LINE_BYTES_MAX,
    Action,
    Change,
    Details,
    could_begin,
    mac_of,
    read_line,
    write_line,
)
from c2t.runtime.audit.lock import locked
from c2t.runtime.audit.place import default_head, default_key
from c2t.runtime.audit.who import who_runs
from c2t.runtime.system.append_file import open_regular
from c2t.runtime.system.errors import AuditError

CHECK_HINT = (
    "see what happened with `c2t audit check`; go on with a new trail, and keep this one "
    "(see `c2t help trust`)"
)
MENDED_HINT = "mend that, or name another file with --audit"


class AuditTrail:
    """An open trail; use it as a context manager. Threads and processes may share one.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, handle: int, key: AuditKey, head: Path) -> None:
        self.path = path
        self._handle = handle
        self._key = key
        self._head = head
        self._lock = threading.RLock()
        self._process = os.getpid()

    @staticmethod
    def open(path: Path, *, key: Path | None = None, head: Path | None = None) -> AuditTrail:
        """Open a trail, or begin a new one.

        Args:
            path: The file.
            key: Of 64 hexadecimal digits; None: the user's own, which is made if there is none.
            head: File that is kept away from the trail; None: in the user's state directory.

        Raises:
            AuditError: It was changed, has another key or no head, or cannot be written.
        """
        place = Path(os.path.realpath(path))
        head = head or default_head(place)
        is_new = not os.path.lexists(place) or place.stat().st_size == 0
        if key is not None:
            secret = read_key(key)
        elif is_new and not os.path.lexists(head):
            secret = read_or_make_key(default_key())
        else:
            secret = read_key(default_key())
        if is_new and os.path.lexists(head) and (count := read_head(head, secret).count):
            problem = f"{path} is not there, or empty; its head says that it had {count:,} lines"
            raise AuditError(problem, hint=f"bring it back, or move its head away: {head}")
        trail = AuditTrail(place, _open_file(place), secret, head)
        try:
            with trail._locked():
                pass
        except BaseException:
            trail.close()
            raise
        return trail

    def __enter__(self) -> AuditTrail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def record(self, action: Action, details: Details | None = None, *, asked_by: str = "") -> int:
        """Append a line. When this returns, the line is on the disk.

        Args:
            action: What was done.
            details: What is known about it.
            asked_by: Who asked for it over the network.

        Returns:
            The line's number, from 1.

        Raises:
            AuditError: The line cannot be written, or the trail was changed meanwhile.
        """
        with self._locked() as head:
            return self._append(head, action, details or Details(), asked_by).count

    def configure(self, scope: str, settings: Mapping[str, str], *, reason: str = "") -> bool:
        """Append a line if settings are not those of the last time, with previous and new values.

        Args:
            scope: The command or service whose settings they are.
            settings: All of them, by name.
            reason: Why they are others than before, in the user's words.

        Returns:
            Whether there was a change.

        Raises:
            AuditError: See `record`.
        """
        with self._locked() as head:
            before = self._last_settings(scope)
            changes = {
                name: Change(previous=before.get(name), new=settings.get(name))
                for name in sorted(before.keys() | settings.keys())
                if before.get(name) != settings.get(name)
            }
            if changes:
                details = Details(
                    scope=scope, settings=dict(settings), changes=changes, reason=reason
                )
                self._append(head, Action.configuration, details, "")
            return bool(changes)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Head]:
        """Hold the trail, with its head as it is once a crash has been cleared up."""
        if self._process != os.getpid():  # a fork shares the file's lock with its parent
            self._process, self._lock = os.getpid(), threading.RLock()
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = _open_file(self.path)
        with self._lock:
            if self._handle < 0:
                problem = f"the audit trail {self.path} is closed"
                raise AuditError(problem, hint="open it again")
            try:
                with locked(self._handle, self.path):
                    yield self._recovered()
            except OSError as error:
                place = error.filename or self.path
                problem = f"cannot write {place}: {error.strerror}"
                raise AuditError(problem, hint=MENDED_HINT) from error

    def _append(self, head: Head, action: Action, details: Details, asked_by: str) -> Head:
        line, mac = write_line(
            self._key,
            seq=head.count + 1,
            previous=head.last,
            time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            action=action,
            who=who_runs(asked_by),
            c2t=c2t.__version__,
            details=details,
        )
        if len(line) > LINE_BYTES_MAX:
            problem = f"a line of {len(line):,} bytes is too long for the audit trail {self.path}"
            raise AuditError(problem, hint="give fewer or shorter settings")
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._handle, left) :]
            sync(self._handle)
        except OSError:  # a full disk: what was written of the line goes
            os.ftruncate(self._handle, head.bytes)
            raise
        after = Head(
            log=head.log,
            count=head.count + 1,
            bytes=head.bytes + len(line),
            start=head.bytes,
            last=mac,
        )
        write_head(self._head, after, self._key)
        return after

    def _recovered(self) -> Head:
        """The head; what a crash left unfinished is taken over or cut off.

        Raises:
            AuditError: The end of the trail is not what its head says.
        """
        size = self._size()
        if not os.path.lexists(self._head):
            if size:
                problem = f"{self.path} has lines, and its head {self._head} is not there"
                raise AuditError(problem, hint="name the head with --audit-head, or another trail")
            name = secrets.token_hex(32)
            new = Head(log=name, count=0, bytes=0, start=0, last=name)
            make_head(self._head, new, self._key)
            return new
        head = read_head(self._head, self._key)
        self._check_end(head, size)
        if size == head.bytes:
            return head
        sync(self._handle)
        extra = self._read(head.bytes, min(size - head.bytes, LINE_BYTES_MAX + 1))
        if extra.endswith(b"\n"):
            line, mac = read_line(extra), mac_of(extra, self._key)
            if line is None or mac is None or line.seq != head.count + 1:
                self._refuse(f"its line {head.count + 1:,} is not one of this trail")
            if line.previous != head.last:
                self._refuse(f"its line {head.count + 1:,} does not follow the one before")
            taken = Head(log=head.log, count=line.seq, bytes=size, start=head.bytes, last=mac)
            write_head(self._head, taken, self._key)
            return taken
        if not could_begin(extra, seq=head.count + 1, previous=head.last):
            self._refuse(f"what follows line {head.count:,} is no beginning of a line")
        os.ftruncate(self._handle, head.bytes)
        sync(self._handle)
        details = Details(result=f"cut off {len(extra):,} bytes of a line that a crash left")
        return self._append(head, Action.recover, details, "")

    def _check_end(self, head: Head, size: int) -> None:
        """Look at the last line that the head knows."""
        if size < head.bytes:
            problem = f"it has {size:,} bytes; its head says {head.bytes:,} in {head.count:,} lines"
            self._refuse(problem)
        last = self._read(head.start, head.bytes - head.start)
        if head.count and mac_of(last, self._key) != head.last:
            self._refuse(f"its line {head.count:,} is not the one that its head knows")

    def _refuse(self, how: str) -> NoReturn:
        problem = f"the audit trail {self.path} was changed: {how}"
        raise AuditError(problem, hint=CHECK_HINT)

    def _size(self) -> int:
        """Bytes of the file; it must still be the one at its place.

        Raises:
            AuditError: It was moved away or exchanged.
        """
        status = os.fstat(self._handle)
        try:
            here = os.path.samestat(self.path.lstat(), status)
        except FileNotFoundError:
            here = False
        if not here:
            problem = f"the audit trail {self.path} was moved away while it was open"
            raise AuditError(problem, hint="bring it back, and run the same command again")
        return status.st_size

    def _read(self, start: int, length: int) -> bytes:
        os.lseek(self._handle, start, os.SEEK_SET)
        parts = []
        while length > 0 and (part := os.read(self._handle, length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _last_settings(self, scope: str) -> dict[str, str]:
        """The settings of the last line of a scope that has some."""
        found: dict[str, str] = {}
        with self.path.open("rb") as stream:
            for content in iter(lambda: stream.readline(LINE_BYTES_MAX), b""):
                wanted = b'"action":"configuration"' in content
                line = read_line(content) if wanted and mac_of(content, self._key) else None
                if line is not None and line.details.get("scope") == scope:
                    settings = line.details.get("settings")
                    found = settings if isinstance(settings, dict) else {}
        return found


def _open_file(path: Path) -> int:
    return open_regular(
        path,
        mode=0o644,
        error=AuditError,
        hint="name a file that you may write to with --audit",
        irregular_hint="name another file with --audit",
    )
