"""What an audit trail is told of jobs: made, begun, ended, stopped, removed.

One decision: the line comes first. A job is made, begun, done and removed when its line is on the
disk. Only how a job ended that failed or was cancelled is told behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.texts import TextsHash
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.serve.jobs.registry import JobEntry
from c2t.runtime.serve.jobs.results import cells_done, read_records
from c2t.runtime.serve.room.asking import asked_by
from c2t.runtime.serve.room.audit import settings_of
from c2t.runtime.serve.room.messages import Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import AuditError, C2TError

SCOPE = "job"


class JobAudit:
    """The lines about jobs.

    Args:
        room: Has the trail, and the bundle.
    """

    def __init__(self, room: EngineRoom) -> None:
        self._room = room

    def made(self, job_id: str, name: str, settings: Settings, *, sha256: str = "") -> None:
        """A job is about to be made.

        Args:
            job_id: Its id.
            name: The file's name.
            settings: How to describe.
            sha256: Of what was sent; "": it lies here, and is hashed when it is read.

        Raises:
            AuditError: The trail takes no line.
        """
        if self._room.audit.on:
            details = self._about(job_id, name, settings, sha256=sha256, result="made")
            self._room.audit.record(Action.request, details)

    def begins(self, entry: JobEntry, cells: Path) -> None:
        """Its cells are about to be described.

        Args:
            entry: The job.
            cells: Its file, which is hashed.

        Raises:
            AuditError: The trail takes no line.
        """
        if not self._room.audit.on:
            return
        there = cells_done(entry.folder)
        result = f"goes on after {there:,} cells" if there else "begun"
        sha256 = sha256_of(Path(os.path.realpath(cells)))
        self._room.audit.record(Action.start, self._of(entry, sha256=sha256, result=result))

    def done(self, entry: JobEntry) -> None:
        """All of its cells have results, which are on the disk.

        Raises:
            AuditError: The trail takes no line.
        """
        if self._room.audit.on:
            self._room.audit.record(Action.stop, self._end(entry, "done", ""))

    def ended(self, entry: JobEntry, result: str, problem: str, *, later: bool) -> None:
        """It failed, or was cancelled; nobody waits for the line.

        Args:
            later: Read its results in the trail's thread: the caller holds a lock. Requests wait
                behind that, so all others read them here.
        """
        if not self._room.audit.on:
            return
        if later:
            self._submit(Action.stop, lambda: self._end(entry, result, problem))
            return
        details = self._end(entry, result, problem)
        self._submit(Action.stop, lambda: details)

    def asked(self, entry: JobEntry, what: str) -> None:
        """Somebody wants it to stop, or to go on; none waits."""
        if self._room.audit.on:
            details = self._of(entry, result=what)
            self._submit(Action.request, lambda: details)

    def removed(self, entry: JobEntry) -> None:
        """All that is kept of it is about to be removed.

        Raises:
            AuditError: The trail takes no line.
        """
        if self._room.audit.on:
            details = self._of(entry, result=f"removed; it was {entry.state.state}")
            self._room.audit.record(Action.remove, details)

    def _submit(self, action: Action, details: Callable[[], Details]) -> None:
        self._room.audit.submit(action, details, _nobody_waits, who=asked_by())

    def _end(self, entry: JobEntry, result: str, problem: str) -> Details:
        texts = TextsHash()
        try:
            for record in read_records(entry.folder, 0, cells_done(entry.folder)):
                texts.add(record.cell, record.text, record.error)
        except (C2TError, OSError) as error:  # removed meanwhile, or damaged
            problem = f"{problem}; its results cannot be read: {error}".removeprefix("; ")
        return replace(
            self._of(entry, result=result),
            cells=texts.cells,
            failed=texts.failed,
            text_sha256=texts.hexdigest(),
            problem=problem,
        )

    def _of(self, entry: JobEntry, *, result: str, sha256: str = "") -> Details:
        state = entry.state
        return self._about(state.id, state.name, state.settings, sha256=sha256, result=result)

    def _about(
        self, job_id: str, name: str, settings: Settings, *, sha256: str, result: str
    ) -> Details:
        bundle = self._room.model.bundle
        return Details(
            scope=SCOPE,
            input=name,
            input_sha256=sha256,
            bundle=bundle.digest,
            signer=bundle.trust.fingerprint if bundle.trust else "",
            settings={"job": job_id, **settings_of(settings)},
            result=result,
        )


def _nobody_waits(error: AuditError | None) -> None:
    """The trail itself says what is missing, when it can be written again."""
