"""All jobs of a service: made, listed, watched, read, cancelled, removed.

Doors use this object from any thread. What reads or writes files takes time: call it in a thread
that may wait, not in an event loop. The exceptions are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.jobs.state import (
    DEFAULT_READING,
    DEFAULT_SETTINGS,
    JobEvent,
    JobState,
    Reading,
    ResultFormat,
)
from c2t.runtime.serve.room.messages import DescribeRequest, Settings

if TYPE_CHECKING:
    from c2t.runtime.serve.room.room import EngineRoom


class Upload(Protocol):
    """A file of cells that is being sent. As a context manager, it is dropped unless finished."""

    def __enter__(self) -> Upload:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """Drop what was not finished."""

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes.

        Raises:
            TooLargeError: It has more bytes than one upload may have.
            StorageError: All uploads together have too many, or the disk is full.
        """

    def finish(self) -> JobState:
        """Make the job; on the disk when this returns. The same key gives the job that it made.

        Raises:
            CellFileError: What was sent is no file of cells.
            JobConflictError: The key stands for another request.
            JobsFullError: Too many jobs wait.
            StorageError: It cannot be written.
        """

    def abort(self) -> None:
        """Drop it; nothing of it is left."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Results as lines of JSON, newlines included: those of `c2t describe`, byte for byte.

    Attributes:
        first: Place of the first cell among the job's.
        count: How many lines.
        lines: The lines; closing the iterator closes the file.
    """

    first: int
    count: int
    lines: Iterator[bytes]


class Jobs:
    """The jobs of a service. Thread-safe.

    Args:
        room: Describes.
        options: Where they lie, and how many there may be.

    Raises:
        StorageError: The folder cannot be made or written, or another service uses it.
    """

    def __init__(self, room: EngineRoom, options: JobOptions) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Begin to describe; jobs that were interrupted go on where they were."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop between two tokens. Jobs that run or wait go on when a service starts again."""
        raise NotImplementedError

    def create_from_upload(
        self,
        name: str,
        *,
        settings: Settings = DEFAULT_SETTINGS,
        reading: Reading = DEFAULT_READING,
        key: str | None = None,
        size: int | None = None,
    ) -> Upload:
        """Begin to receive a file of cells.

        Args:
            name: Its name, without folders.
            settings: How to describe.
            reading: How to read.
            key: The Idempotency-Key.
            size: Its bytes, if they were announced: what is too large is refused at once.

        Raises:
            JobError: The name cannot be a file's.
            C2TError: Settings that this bundle cannot have.
            TooLargeError: More bytes than one upload may have.
            JobsFullError: Too many jobs wait.
            JobConflictError: The key stands for another request.
        """
        raise NotImplementedError

    def create_from_path(
        self,
        path: str,
        *,
        settings: Settings = DEFAULT_SETTINGS,
        reading: Reading = DEFAULT_READING,
        key: str | None = None,
    ) -> JobState:
        """Make a job of a file that lies here. It is not copied.

        Args:
            path: Absolute; where it leads must be a regular file in one of the allowed folders.
            settings: How to describe.
            reading: How to read.
            key: The Idempotency-Key.

        Raises:
            PathRefusedError: Not in an allowed folder, not there, or no regular file.
            CellFileError: No file of cells.
            C2TError: Settings that this bundle cannot have.
            JobsFullError: Too many jobs wait.
            JobConflictError: The key stands for another request.
        """
        raise NotImplementedError

    def create_from_cells(self, request: DescribeRequest, *, key: str | None = None) -> JobState:
        """Make a job of cells that the request holds.

        Raises:
            C2TError: Settings that this bundle cannot have.
            JobsFullError: Too many jobs wait.
            JobConflictError: The key stands for another request.
        """
        raise NotImplementedError

    def get(self, job_id: str) -> JobState:
        """A job as it is now. From memory: an event loop may call it.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        raise NotImplementedError

    def recent(self, *, first: int = 0, count: int = 100) -> list[JobState]:
        """Jobs, the newest first. From memory: an event loop may call it."""
        raise NotImplementedError

    def cancel(self, job_id: str) -> JobState:
        """Stop a job between two tokens; what it has described is kept.

        Returns:
            The job, which may still be "running" for a moment.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        raise NotImplementedError

    def delete(self, job_id: str) -> None:
        """Stop a job and remove all that is kept of it. A file that lay here stays.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        raise NotImplementedError

    def events(self, job_id: str, *, after: int = -1) -> list[JobEvent]:
        """What happened after an event, with what happened meanwhile told as one.

        From memory: an event loop may call it. An ended job always tells its end, unless `after` is
        that event. So an empty list and `get(...).has_ended` mean: there is no more to come.

        Args:
            after: Number of the last event that was seen; -1: none.

        Raises:
            JobNotFoundError: There is none of that name, or it was removed.
        """
        raise NotImplementedError

    def watch(self, job_id: str, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Have a function called at each change, from any thread, until the block ends.

        It must be quick, and must not call jobs; `loop.call_soon_threadsafe(event.set)` is meant.
        Ask `events` once inside the block before waiting.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        raise NotImplementedError

    def wait(self, job_id: str, *, after: int = -1, timeout: float | None = None) -> list[JobEvent]:
        """Wait for what `events` tells. Empty after the timeout, or when no more is to come.

        Raises:
            JobNotFoundError: There is none of that name, or it was removed meanwhile.
        """
        raise NotImplementedError

    def lines(self, job_id: str, *, first: int = 0, count: int | None = None) -> Lines:
        """Results as lines of JSON, also of a job that runs: those that it has.

        Takes the same time wherever the lines are.

        Args:
            first: Place of the first cell, from 0.
            count: Most lines; None: all that there are.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        raise NotImplementedError

    def results(self, job_id: str, kind: ResultFormat) -> Path:
        """A file of all results of a job that ended. It is made when first asked for.

        Returns:
            Its path. Its name is the file of cells', with the format's suffix.

        Raises:
            JobNotFoundError: There is none of that name.
            JobNotReadyError: It has not ended.
            OutputError: This format cannot be written here, or not from these cells.
            StorageError: The disk is full.
        """
        raise NotImplementedError

    def columns(self, job_id: str) -> Path:
        """The columns that the page draws, in one binary file; see `columns.py` for its format.

        Of a job that runs, they hold the cells that are done.

        Raises:
            JobNotFoundError: There is none of that name.
            JobNotReadyError: None of its cells is done.
            StorageError: The disk is full.
        """
        raise NotImplementedError
