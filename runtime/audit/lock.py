"""A lock on an open file, so that several processes append to one trail in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from c2t.runtime.system.errors import AuditError
from c2t.runtime.system.portable.file_lock import try_lock, unlock

WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.002


@contextmanager
def locked(handle: int, path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file.

    Args:
        handle: The open file.
        path: Its place, for messages.
        shared: For reading: with others who read, and not while somebody writes.

    Raises:
        AuditError: Another process holds it for longer than `WAIT_SECONDS`, or files cannot be
            locked there.
    """
    until = time.monotonic() + WAIT_SECONDS
    while not _try_lock(handle, path, shared=shared):
        if time.monotonic() > until:
            problem = f"another process has held {path} for {WAIT_SECONDS:.0f} seconds"
            raise AuditError(problem, hint="end that process, or wait for it")
        time.sleep(PAUSE_SECONDS)
    try:
        yield
    finally:
        unlock(handle)


def _try_lock(handle: int, path: Path, *, shared: bool) -> bool:
    try:
        try_lock(handle, shared=shared)
    except BlockingIOError:
        return False
    except OSError as error:
        problem = f"{path} cannot be locked: {error.strerror}"
        raise AuditError(problem, hint="keep the trail on a local disk") from error
    return True
