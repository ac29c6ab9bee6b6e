"""The jobs that there are, in memory and in the data base, and who waits for their changes.

One decision: memory is what doors see, and the data base is what a restart sees. A change of state
goes to the data base first. If that fails because the disk is full, the job goes on in memory.
After a restart it is as it was before the change, and goes on from its journal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from c2t.runtime.serve.jobs.errors import JobConflictError, JobNotFoundError, StorageError
from c2t.runtime.serve.jobs.folders import Folders, JobFolder
from c2t.runtime.serve.jobs.results import cells_done
from c2t.runtime.serve.jobs.state import JobEvent, JobState
from c2t.runtime.serve.jobs.store import Store, StoredJob

# Numbers between those of two cells, for what happens to the job meanwhile. A page counts to 2**53.
CELL = 1 << 20
LOG = logging.getLogger(__name__)


class JobEntry:
    """A job in memory. Its fields are changed under the registry's lock.

    Attributes:
        stored: What the data base keeps of it.
        folder: Where its files lie.
        cancel: Whether somebody wants it to stop.
        removed: Whether somebody has removed it.
        running: Whether a thread describes its cells.
        bytes: Size of its files, once it has ended.
        files: Held while files are made of its results, or removed.
        picture: When its columns so far were made (monotonic), and what that took, in seconds.
    """

    def __init__(self, stored: StoredJob, folder: JobFolder) -> None:
        self.stored = stored
        self.folder = folder
        self.cancel = False
        self.removed = False
        self.running = False
        self.bytes = 0
        self.files = threading.Lock()
        self.picture = (0.0, 0.0)
        self.watchers: list[Callable[[], None]] = []

    @property
    def state(self) -> JobState:
        """As doors tell it."""
        return self.stored.state

    @property
    def waits(self) -> bool:
        """Whether it is to be described, and nobody does."""
        return not (self.running or self.removed or self.state.has_ended)


class Registry:
    """All jobs. Thread-safe.

    Args:
        store: What a restart sees.
        folders: Where their files lie.

    Attributes:
        changed: Notified at each change; holds the lock.

    Raises:
        StorageError: The data base is damaged.
    """

    def __init__(self, store: Store, folders: Folders) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._store = store
        self._entries: dict[str, JobEntry] = {}  # in the order in which they were made
        for stored in store.all():
            folder = folders.job(stored.state.id)
            if not folder.request.exists():  # killed while it was being removed
                store.remove(stored.state.id)
                continue
            entry = JobEntry(stored, folder)
            folder.tidy()
            if not entry.state.has_ended:
                done = cells_done(folder)
                number = max(stored.state.event, done * CELL + 1)
                state = msgspec.structs.replace(stored.state, done=done, event=number)
                entry.stored = msgspec.structs.replace(stored, state=state)
            else:
                entry.bytes = folder.bytes()
            self._entries[stored.state.id] = entry
        folders.clean(set(self._entries))

    def entries(self) -> list[JobEntry]:
        """All jobs, the oldest first."""
        with self.changed:
            return list(self._entries.values())

    def entry(self, job_id: str) -> JobEntry:
        """A job by its name.

        Raises:
            JobNotFoundError: There is none.
        """
        with self.changed:
            entry = self._entries.get(job_id)
        if entry is None:
            problem = f"there is no job {ascii(job_id)[1:-1][:64]}"
            hint = "it was removed, has expired, or never was: list the jobs that there are"
            raise JobNotFoundError(problem, hint=hint)
        return entry

    def has_key(self, key: str | None) -> bool:
        """Whether a key has made a job."""
        return key is not None and any(entry.stored.key == key for entry in self.entries())

    def with_key(self, key: str | None, request: str) -> JobEntry | None:
        """The job that a key has made, if any.

        Args:
            request: SHA-256 of what is asked for now.

        Raises:
            JobConflictError: It was made of another request.
        """
        if key is None:
            return None
        for entry in self.entries():
            if entry.stored.key == key:
                if entry.stored.request == request:
                    return entry
                problem = f"the Idempotency-Key has made job {entry.state.id} of another request"
                raise JobConflictError(problem, hint="use a new key for another request")
        return None

    def add(self, entry: JobEntry) -> None:
        """Add a new job, on the disk when this returns.

        Raises:
            StorageError: The disk is full.
        """
        self._store.add(entry.stored)
        with self.changed:
            self._entries[entry.state.id] = entry
            self.changed.notify_all()

    def change(
        self, entry: JobEntry, *, about: dict[str, Any] | None = None, **changes: Any
    ) -> None:
        """Change a job's state, in the data base too.

        Args:
            about: Provenance, once it is known.
            changes: Fields of `JobState`.
        """
        with self.changed:
            state = _with_event(entry.state, **changes)
            stored = msgspec.structs.replace(
                entry.stored, state=state, about=about or entry.stored.about
            )
            if not entry.removed:
                try:
                    self._store.update(stored)
                except StorageError as error:
                    LOG.warning("job %s: %s (%s)", state.id, error.problem, error.hint)
            entry.stored = stored
        self._tell(entry)

    def progress(self, entry: JobEntry, **changes: Any) -> None:
        """Change a job's state in memory alone."""
        with self.changed:
            state = _with_event(entry.state, **changes)
            entry.stored = msgspec.structs.replace(entry.stored, state=state)
        self._tell(entry)

    def remove(self, entry: JobEntry) -> None:
        """Forget a job. Its files are the caller's matter.

        Raises:
            StorageError: The data base cannot be written. The job is gone from memory all the same.
        """
        with self.changed:
            entry.removed = entry.cancel = True
            self._entries.pop(entry.state.id, None)
        self._tell(entry)
        self._store.remove(entry.state.id)

    @contextmanager
    def watch(self, entry: JobEntry, wake: Callable[[], None]) -> Iterator[None]:
        """Call a function at each change of a job until the block ends."""
        with self.changed:
            entry.watchers.append(wake)
        try:
            yield
        finally:
            with self.changed:
                entry.watchers.remove(wake)

    def _tell(self, entry: JobEntry) -> None:
        with self.changed:
            self.changed.notify_all()
            for wake in entry.watchers:
                wake()


def events(state: JobState, after: int) -> list[JobEvent]:
    """What happened to a job after an event, with what happened meanwhile told as one."""
    if state.has_ended and after == state.event:
        return []
    told = []
    first = max(after, 0) // CELL
    if state.done > first:
        count = state.done - first
        told.append(JobEvent(id=state.done * CELL, event="cells", first=first, count=count))
    if state.state == "done" or state.state == "failed" or state.state == "cancelled":
        told.append(JobEvent(id=state.event, event=state.state, job=state))
    elif state.event > after:
        told.append(JobEvent(id=state.event, event="progress", job=state))
    return told


def _with_event(state: JobState, /, **changes: Any) -> JobState:
    """A changed state with the number of its latest event.

    "cells" after k cells has the number k * CELL. What else happens then is numbered on from there.
    """
    changed = msgspec.structs.replace(state, **changes)
    number = max(changed.done * CELL + 1, state.event)
    if changed.done == state.done:
        number = max(number, state.event + 1)
    return msgspec.structs.replace(changed, event=number)
