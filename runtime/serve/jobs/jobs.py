"""All jobs of a service: made, listed, watched, read, cancelled, removed.

Doors use this object from any thread. What reads or writes files takes time: call it in a thread
that may wait, not in an event loop. The exceptions are named.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from c2t.runtime.serve.jobs.errors import (
    JobError,
    JobNotReadyError,
    renamed,
)
from c2t.runtime.serve.jobs.folders import Folders, storing
from c2t.runtime.serve.jobs.groups import write_group_results
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.inputs.reopen import cell_source
from c2t.runtime.serve.jobs.inputs.request import JobRequest
from c2t.runtime.serve.jobs.inputs.uploads import ByteBudget, Upload
from c2t.runtime.serve.jobs.lines import Lines, read_lines, removed
from c2t.runtime.serve.jobs.making import How, JobMaker
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.jobs.picture.build import write_columns
from c2t.runtime.serve.jobs.registry import JobEntry, Registry, events
from c2t.runtime.serve.jobs.results import (
    cells_done,
    check_unchanged,
    read_records,
    result_path,
    write_results,
)
from c2t.runtime.serve.jobs.runner import Runner
from c2t.runtime.serve.jobs.state import (
    DEFAULT_READING,
    DEFAULT_SETTINGS,
    JobEvent,
    JobState,
    Reading,
    ResultFormat,
)
from c2t.runtime.serve.jobs.store import Store
from c2t.runtime.serve.room.analyses import CellSource
from c2t.runtime.serve.room.limits import StoppingError
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

# Columns of a job that runs are made anew after this many seconds, and after this many times as
# long as the last ones took.
COLUMNS_EVERY, COLUMNS_SHARE = 2.0, 20.0


class Jobs:
    """The jobs of a service. Thread-safe.

    Args:
        room: Describes.
        options: Where they lie, and how many there may be.

    Attributes:
        options: The same.

    Raises:
        StorageError: The folder cannot be made or written, or another service uses it.
    """

    def __init__(self, room: EngineRoom, options: JobOptions) -> None:
        self._room = room
        self.options = options
        self._folders = Folders(options.folder)
        self._closed = False
        self._budget = ByteBudget(options.stored_bytes)
        try:
            self._allowed = AllowedFolders(options.allowed, private=self._folders.root)
            self._store = Store(self._folders.state)
            self._registry = Registry(self._store, self._folders)
        except BaseException:
            self._folders.close()
            raise
        for entry in self._registry.entries():
            self._budget.add(entry.stored.input_bytes)
        self._maker = JobMaker(
            self._registry,
            room,
            self._folders,
            allowed=self._allowed,
            options=options,
            budget=self._budget,
        )
        self._runner = Runner(
            self._registry, room, allowed=self._allowed, options=options, budget=self._budget
        )

    def start(self) -> None:
        """Begin to describe; jobs that were interrupted go on where they were."""
        self._runner.sweep()
        self._runner.start()

    def close(self) -> None:
        """Stop between two tokens. Jobs that run or wait go on when a service starts again."""
        self._closed = True
        self._maker.close()
        self._runner.close()
        self._store.close()
        self._folders.close()

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
        how = How(settings=settings, reading=reading, key=key)
        return self._maker.from_upload(name, how, size=size)

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
        return self._maker.from_path(path, How(settings=settings, reading=reading, key=key))

    def create_from_cells(self, request: DescribeRequest, *, key: str | None = None) -> JobState:
        """Make a job of cells that the request holds.

        Raises:
            C2TError: Settings that this bundle cannot have.
            JobsFullError: Too many jobs wait.
            JobConflictError: The key stands for another request.
        """
        return self._maker.from_cells(request, key)

    def get(self, job_id: str) -> JobState:
        """A job as it is now. From memory: an event loop may call it.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        return self._registry.entry(job_id).state

    def recent(self, *, first: int = 0, count: int = 100) -> list[JobState]:
        """Jobs, the newest first. From memory: an event loop may call it."""
        states = [entry.state for entry in reversed(self._registry.entries())]
        return states[first : first + count]

    def cancel(self, job_id: str) -> JobState:
        """Stop a job between two tokens: "running" for a moment more. What it described is kept.

        Raises:
            JobNotFoundError: There is none of that name.
            StoppingError: Jobs were closed; it goes on when they are opened again.
        """
        entry = self._entry_to_change(job_id)
        self._runner.cancel(entry)
        return entry.state

    def resume(self, job_id: str) -> JobState:
        """Have a job go on that failed or was cancelled, after the cells that it has described.

        For what was no fault of its cells: a full disk, a broken engine. Files of its results are
        made anew. A job that waits, runs or is done stays as it is.

        Raises:
            JobNotFoundError: There is none of that name.
            StoppingError: Jobs were closed.
        """
        entry = self._entry_to_change(job_id)
        self._runner.resume(entry)
        return entry.state

    def delete(self, job_id: str) -> None:
        """Stop a job and remove all that is kept of it. A file that lay here stays.

        Raises:
            JobNotFoundError: There is none of that name.
            StoppingError: Jobs were closed.
        """
        self._runner.remove(self._entry_to_change(job_id))

    def events(self, job_id: str, *, after: int = -1) -> list[JobEvent]:
        """What happened after an event, with what happened meanwhile told as one.

        From memory: an event loop may call it. An ended job always tells its end, unless `after` is
        that event. So an empty list and `get(...).has_ended` mean: there is no more to come.

        Args:
            after: Number of the last event that was seen; -1: none.

        Raises:
            JobNotFoundError: There is none of that name, or it was removed.
        """
        return events(self._registry.entry(job_id).state, after)

    def watch(self, job_id: str, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Have a function called at each change, from any thread, until the block ends.

        It must be quick, and must not call jobs; `loop.call_soon_threadsafe(event.set)` is meant.
        Ask `events` once inside the block before waiting.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        return self._registry.watch(self._registry.entry(job_id), wake)

    def wait(self, job_id: str, *, after: int = -1, timeout: float | None = None) -> list[JobEvent]:
        """Wait for what `events` tells. Empty after the timeout, or when no more is to come.

        Raises:
            JobNotFoundError: There is none of that name, or it was removed meanwhile.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        with self._registry.changed:
            while True:
                entry = self._registry.entry(job_id)
                found = events(entry.state, after)
                left = None if limit is None else limit - time.monotonic()
                if found or entry.state.has_ended or (left is not None and left <= 0):
                    return found
                if self._closed:
                    return []
                self._registry.changed.wait(left)

    def lines(self, job_id: str, *, first: int = 0, count: int | None = None) -> Lines:
        """Results as lines of JSON, also of a job that runs: those that it has.

        Takes the same time wherever the lines are.

        Args:
            first: Place of the first cell, from 0.
            count: Most lines; None: all that there are.

        Raises:
            JobNotFoundError: There is none of that name.
        """
        entry = self._registry.entry(job_id)
        there = cells_done(entry.folder)
        first = min(max(first, 0), there)
        number = there - first if count is None else min(max(count, 0), there - first)
        return Lines(first=first, count=number, lines=read_lines(entry, first, number))

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
        entry = self._registry.entry(job_id)
        state = entry.state
        if not state.has_ended:
            problem = f"job {job_id} is {state.state}; a file of results is written when it ends"
            raise JobNotReadyError(problem, hint="wait for its end, or ask for lines as they come")
        if kind not in state.formats:
            has = ", ".join(state.formats)
            problem = f"job {job_id} has no results as {kind}; it has {has or 'none'}"
            raise JobError(problem, hint=f"ask for {has}" if has else "see why it failed")
        target = result_path(entry.folder, state.name, kind)
        with entry.files:
            if entry.removed:
                raise removed(job_id)
            if not target.exists():
                self._write(entry, target, kind)
                entry.bytes = entry.folder.bytes()
        return target

    def columns(self, job_id: str) -> Path:
        """The columns that the page draws, in one binary file; see `columns.py` for its format.

        Of a job that runs, they hold the cells that are done.

        Raises:
            JobNotFoundError: There is none of that name.
            JobNotReadyError: None of its cells is done.
            StorageError: The disk is full.
        """
        entry = self._registry.entry(job_id)
        with entry.files:
            if entry.removed:
                raise removed(job_id)
            ended = entry.state.has_ended  # before counting: the last cells may just be coming
            count = cells_done(entry.folder)
            if not count:
                problem = f"job {job_id} has no cells yet that could be drawn"
                raise JobNotReadyError(problem, hint="ask again when some are done")
            target = entry.folder.columns if ended else entry.folder.columns_so_far
            since = time.monotonic()
            made, took = entry.picture
            fresh = ended or since - made < max(COLUMNS_EVERY, COLUMNS_SHARE * took)
            if not (fresh and target.exists()):
                genes = self._room.model.bundle.manifest.gene_input_part
                with storing("the columns"):
                    write_columns(
                        target,
                        entry.folder.picture,
                        read_records(entry.folder, 0, count),
                        count=count,
                        width=genes.hidden_size if genes else 0,
                    )
                entry.picture = since, time.monotonic() - since
                entry.bytes = entry.folder.bytes()
            return target

    def cells(self, job_id: str) -> CellSource:
        """The cells of a job, to ask about one of them.

        Raises:
            JobNotFoundError: There is none of that name.
            C2TError: Somebody has changed what is kept of it.
        """
        folder = self._registry.entry(job_id).folder
        return cell_source(job_id, folder, self._allowed, self._room.model.bundle)

    def _write(self, entry: JobEntry, target: Path, kind: ResultFormat) -> None:
        """Write a file of results."""
        folder, count = entry.folder, cells_done(entry.folder)
        about = (entry.stored.about or {}) | {"cells": count}
        about |= {"cells_with_errors": entry.state.failed_cells}
        if kind == "groups":
            write_group_results(folder, target)
            return
        if kind != "h5ad":
            write_results(folder, Path(entry.state.name), target, count, about)
            return
        request = JobRequest.read(folder)
        with request.cells(folder, self._allowed) as path:
            try:
                if request.path is not None:
                    check_unchanged(folder, path)
                write_results(folder, path, target, count, about)
            except C2TError as error:
                raise renamed(error, path, request.name) from error

    def _entry_to_change(self, job_id: str) -> JobEntry:
        if self._closed:
            problem = "the service is about to stop"
            raise StoppingError(problem, hint="send it again when it is back")
        return self._registry.entry(job_id)
