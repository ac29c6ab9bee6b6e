"""The threads that describe jobs, the oldest first, and remove those that were kept long enough.

One decision: only the end of a job is told, never guessed. A job that a stop of the service
interrupts stays "running", and goes on from its journal at the next start.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.cells.option_words import options_as_fields
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.serve.jobs.audit_lines import JobAudit
from c2t.runtime.serve.jobs.describe_job import AGAIN_HINT, describe_job
from c2t.runtime.serve.jobs.errors import JobError, StorageError
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.inputs.request import JobRequest
from c2t.runtime.serve.jobs.inputs.uploads import ByteBudget
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.jobs.registry import JobEntry, Registry
from c2t.runtime.serve.jobs.results import available_formats
from c2t.runtime.serve.jobs.state import Status, now
from c2t.runtime.serve.room.limits import JobCancelled, OverloadedError, StoppingError
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import AuditError, C2TError

LOG = logging.getLogger(__name__)
LOOK_INTERVAL = 30.0  # seconds between two looks for jobs that have expired


class Runner:
    """Describes the jobs of a registry, and removes them.

    Args:
        registry: All jobs.
        room: Describes.
        allowed: Folders whose files may be read.
        options: How many at a time, and how long they are kept.
        budget: Of the files that were sent.
    """

    def __init__(
        self,
        registry: Registry,
        room: EngineRoom,
        *,
        allowed: AllowedFolders,
        options: JobOptions,
        budget: ByteBudget,
    ) -> None:
        self._registry = registry
        self._room = room
        self._allowed = allowed
        self._options = options
        self._budget = budget
        self._audit = JobAudit(room)
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"c2t-job-{number}", daemon=True)
            for number in range(options.running)
        ]
        sweeper = threading.Thread(target=self._sweep_often, name="c2t-job-sweep", daemon=True)
        self._threads.append(sweeper)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop between two tokens."""
        with self._registry.changed:
            self._closing = True
            self._registry.changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def cancel(self, entry: JobEntry) -> None:
        """Have a job stop; one that nobody describes has ended when this returns."""
        self._audit.asked(entry, "is to be cancelled")
        with self._registry.changed:
            entry.cancel = True
            if entry.waits:
                self._end(entry, "cancelled", later=True)

    def resume(self, entry: JobEntry) -> None:
        """Have a job go on that failed or was cancelled; other jobs are left alone."""
        self._audit.asked(entry, "is to go on")
        with self._registry.changed:  # its thread may be about to let go of it
            self._registry.changed.wait_for(lambda: not (entry.running and entry.state.has_ended))
        # The files first: somebody may be writing one for a while, which must not hold up all jobs.
        with entry.files, self._registry.changed:
            if entry.running or entry.state.state not in ("failed", "cancelled"):
                return
            entry.cancel = False
            entry.folder.forget_files()  # they hold the cells that it had
            self._registry.change(
                entry,
                state="queued",
                ended=None,
                expires=None,
                problem=None,
                hint=None,
                formats=(),
            )

    def remove(self, entry: JobEntry) -> None:
        """Have a job stop, and remove all that is kept of it.

        Raises:
            StorageError: The data base cannot be written; the rest is removed.
            AuditError: The audit trail takes no line; nothing is removed.
        """
        if not entry.removed:
            self._audit.removed(entry)
        with self._registry.changed:
            if entry.removed:
                return
            running = entry.running
            entry.removed = entry.cancel = True  # a runner that stops later removes the files
        try:
            self._registry.remove(entry)
        except StorageError:  # on a full disk, the files' room lets the data base be written
            if running:
                raise
            self._remove_files(entry)
            self._registry.remove(entry)
        else:
            if not running:
                self._remove_files(entry)

    def sweep(self) -> None:
        """Remove jobs that ended and were kept long enough, or are too many."""
        ended = [entry for entry in self._registry.entries() if entry.state.has_ended]
        ended.sort(key=lambda entry: entry.state.ended or entry.state.created)
        total = sum(entry.bytes for entry in ended)
        limit = timedelta(seconds=self._options.keep_seconds)
        for number, entry in enumerate(ended):
            left = len(ended) - number
            since = entry.state.ended or entry.state.created
            if (
                left > self._options.keep_jobs
                or total > self._options.keep_bytes
                or now() - since > limit
            ):
                total -= entry.bytes
                try:
                    self.remove(entry)
                except (StorageError, AuditError) as error:
                    LOG.warning("job %s: %s", entry.state.id, error.problem)

    def _work(self) -> None:
        while True:
            with self._registry.changed:
                self._registry.changed.wait_for(lambda: self._closing or self._next() is not None)
                entry = self._next()
                if self._closing or entry is None:
                    return
                entry.running = True
            self._describe(entry)
            self.sweep()

    def _sweep_often(self) -> None:
        while not self._closing:
            self.sweep()
            with self._registry.changed:
                self._registry.changed.wait_for(lambda: self._closing, LOOK_INTERVAL)

    def _next(self) -> JobEntry | None:
        """The job whose turn it is: one that was interrupted, else the oldest."""
        waiting = [entry for entry in self._registry.entries() if entry.waits]
        begun = [entry for entry in waiting if entry.state.state == "running"]
        return next(iter(begun or waiting), None)

    def _describe(self, entry: JobEntry) -> None:
        """Describe a job to its end, or until the service stops."""
        try:
            self._describe_cells(entry)
        except JobCancelled:
            if entry.cancel and not entry.removed:
                self._end(entry, "cancelled")
        except OverloadedError as error:  # other settings are in use: its turn comes again
            with self._registry.changed:
                stop = self._registry.changed.wait_for
                stop(lambda: self._closing or entry.cancel, error.retry_after)
        except StoppingError:
            self._wait_for_close()
        except C2TError as error:
            if self._room.stopping or self._closing:
                self._wait_for_close()
            else:
                self._end(entry, "failed", problem=error.problem, hint=error.hint)
        except Exception as error:  # the outermost place: one job's bug must not stop the others
            LOG.exception("job %s", entry.state.id)
            problem = f"c2t could not go on: {type(error).__name__}: {error}"
            hint = "the service's log says where; what was described is kept"
            self._end(entry, "failed", problem=problem, hint=hint)
        finally:
            with self._registry.changed:
                entry.running = False
                self._registry.changed.notify_all()
                removed = entry.removed  # after this, whoever removes it removes its files
            if removed:
                self._remove_files(entry)
            elif entry.cancel and not entry.state.has_ended:
                self._end(entry, "cancelled")

    def _describe_cells(self, entry: JobEntry) -> None:
        bundle = self._room.model.bundle
        found = (entry.stored.bundle, entry.stored.version)
        if found != (bundle.digest, c2t.__version__):
            problem = f"the job was made for bundle {found[0][:12]} and c2t {found[1]}; this is "
            problem += f"bundle {bundle.digest[:12]} and c2t {c2t.__version__}"
            raise JobError(problem, hint=AGAIN_HINT)
        request = JobRequest.read(entry.folder)
        started = entry.state.started or now()
        self._registry.change(entry, state="running", started=started)
        about = describe_job(
            entry.folder,
            request,
            _EntryProgress(self._registry, entry, self._audit),
            room=self._room,
            allowed=self._allowed,
            cancelled=lambda: self._closing or entry.cancel,
        )
        self._audit.done(entry)
        grouped = request.reading.group_by is not None
        formats = available_formats(request.source, request.name, grouped=grouped)
        self._end(entry, "done", about=about, formats=formats)

    def _end(self, entry: JobEntry, state: Status, *, later: bool = False, **changes: Any) -> None:
        ended = now()
        if state != "done":
            self._audit.ended(entry, state, str(changes.get("problem", "")), later=later)
        entry.bytes = entry.folder.bytes()
        if state != "done" and entry.state.done:
            changes.setdefault("formats", available_formats(entry.state.source, entry.state.name))
        expires = ended + timedelta(seconds=self._options.keep_seconds)
        self._registry.change(entry, state=state, ended=ended, expires=expires, **changes)

    def _remove_files(self, entry: JobEntry) -> None:
        with entry.files:
            entry.folder.remove()
        self._budget.give_back(entry.stored.input_bytes)

    def _wait_for_close(self) -> None:
        """The room is closing before the jobs were: nothing is to be done until they are."""
        with self._registry.changed:
            self._registry.changed.wait_for(lambda: self._closing)


class _EntryProgress:
    """Tells a registry how far a job is."""

    def __init__(self, registry: Registry, entry: JobEntry, audit: JobAudit) -> None:
        self._registry = registry
        self._entry = entry
        self._audit = audit

    def begins(self, cells: Path) -> None:
        """See `describe_job.Progress`."""
        self._audit.begins(self._entry, cells)

    def opened(self, reader: CellReader, about: dict[str, Any], left_out: list[str]) -> None:
        """See `describe_job.Progress`."""
        self._registry.change(
            self._entry,
            about=about,
            cells=reader.n_cells,
            notes=(reader.counts_report.sentence, reader.gene_report.sentence),
            warnings=(*map(options_as_fields, reader.warnings), *left_out),
        )

    def has(self, done: int, failed: int) -> None:
        """See `describe_job.Progress`."""
        self._registry.progress(self._entry, done=done, failed_cells=failed)
