"""A file of cells that is being sent: written as it comes, bounded, and gone unless it is finished.

One decision: an upload lies apart from the jobs until all of it is on the disk. One rename and one
row of the data base make it a job, so that a kill leaves either a job or nothing.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from c2t.runtime.serve.jobs.errors import JobError, StorageError, TooLargeError
from c2t.runtime.serve.jobs.folders import JobFolder, storing
from c2t.runtime.serve.jobs.state import JobState

SEND_LESS_HINT = "put the file into a folder that the service may read, and send its path"


class ByteBudget:
    """How many bytes all files that were sent may have together. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take some for good, or until they are given back.

        Raises:
            StorageError: There are not so many left.
        """
        with self._lock:
            if self._taken + count > self._most:
                problem = f"the files that were sent have {self._taken:,} bytes together, at most "
                problem += f"{self._most:,} are kept"
                raise StorageError(problem, hint="remove jobs that have ended, then send it again")
            self._taken += count

    def add(self, count: int) -> None:
        """Count some that are there already."""
        with self._lock:
            self._taken += count

    def give_back(self, count: int) -> None:
        """Let others have them."""
        with self._lock:
            self._taken -= count


class Upload:
    """A file of cells that is being sent. As a context manager, it is dropped unless finished.

    Thread-safe: `abort` waits for a piece that another thread is writing.

    Args:
        folder: Where it is kept meanwhile.
        name: The file's.
        most: Bytes that it may have.
        budget: Of all uploads together.
        accept: Given the SHA-256 and the size of what was sent, makes the job.
    """

    def __init__(
        self,
        folder: JobFolder,
        name: str,
        *,
        most: int,
        budget: ByteBudget,
        accept: Callable[[str, int], JobState],
    ) -> None:
        self.path = folder.input / name
        self._folder = folder
        self._most = most
        self._budget = budget
        self._accept = accept
        self._size = 0
        self._digest = hashlib.sha256()
        self._open = True
        self._lock = threading.RLock()
        with storing(f"the file {name}"):
            try:
                folder.input.mkdir(mode=0o700, parents=True)
                self._stream = self.path.open("xb", buffering=0)
            except OSError:
                folder.remove()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, chunk: bytes | memoryview) -> None:
        """Keep the next bytes. If they cannot be kept, nothing of the upload is left.

        Raises:
            TooLargeError: It has more bytes than one upload may have.
            StorageError: All uploads together have too many, or the disk is full.
        """
        with self._dropped_if_it_fails():
            size = len(chunk)
            if self._size + size > self._most:
                raise too_large(self._most)
            self._budget.take(size)
            self._size += size
            self._digest.update(chunk)
            with storing(f"the file {self.path.name}"):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[self._stream.write(rest) or 0 :]

    def finish(self) -> JobState:
        """Make the job; on the disk when this returns. The same key gives the job that it made.

        Raises:
            CellFileError: What was sent is no file of cells.
            JobConflictError: The key stands for another request.
            JobsFullError: Too many jobs wait.
            StorageError: It cannot be written.
        """
        with self._dropped_if_it_fails():
            with storing(f"the file {self.path.name}"):
                os.fsync(self._stream.fileno())
                self._stream.close()
            state = self._accept(self._digest.hexdigest(), self._size)
            self._open = False
            return state

    def abort(self) -> None:
        """Drop it; nothing of it is left. After `finish`, this does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                self._stream.close()
                self._folder.remove()
                self._budget.give_back(self._size)

    @contextmanager
    def _dropped_if_it_fails(self) -> Iterator[None]:
        with self._lock:
            if not self._open:
                problem = "the upload is over"
                raise JobError(problem, hint="begin another")
            try:
                yield
            except BaseException:
                self.abort()
                raise


def too_large(most: int) -> TooLargeError:
    """The error of an upload that is too long."""
    problem = f"a file that is sent has at most {most:,} bytes"
    return TooLargeError(problem, hint=SEND_LESS_HINT)
