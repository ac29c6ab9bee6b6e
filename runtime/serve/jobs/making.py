"""New jobs: checked, laid down whole, and then made known.

One decision: whatever its cells came as, a job is a folder that is complete and on the disk before
one row of the data base makes it a job. So a kill leaves either a job or nothing.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

import msgspec

import c2t
from c2t.runtime.bundle.tasks import DESCRIBE
from c2t.runtime.describe.describer import check_options
from c2t.runtime.serve.jobs.audit_lines import JobAudit
from c2t.runtime.serve.jobs.errors import JobsFullError, PathRefusedError, renamed
from c2t.runtime.serve.jobs.folders import Folders, check_name, storing
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.inputs.one_file import check_one_file
from c2t.runtime.serve.jobs.inputs.request import CELLS_NAME, JobRequest
from c2t.runtime.serve.jobs.inputs.uploads import ByteBudget, Upload, too_large
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.jobs.registry import JobEntry, Registry
from c2t.runtime.serve.jobs.state import DEFAULT_READING, JobState, Reading, now
from c2t.runtime.serve.jobs.store import StoredJob
from c2t.runtime.serve.room.audit import refusing
from c2t.runtime.serve.room.limits import StoppingError
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

RETRY_SECONDS = 30  # when so many jobs wait, a place is rarely free sooner


@dataclass(frozen=True, kw_only=True)
class How:
    """How a job's cells are read and described.

    Args:
        settings: How to describe.
        reading: How to read.
        key: The Idempotency-Key.
    """

    settings: Settings
    reading: Reading
    key: str | None


class JobMaker:
    """Makes jobs. Thread-safe; see `Jobs` for what its methods raise.

    Args:
        registry: Takes them.
        room: Says which settings can be.
        folders: Where they lie.
        allowed: Folders whose files may be read.
        options: How large and how many they may be.
        budget: Of the files that are sent.
    """

    def __init__(
        self,
        registry: Registry,
        room: EngineRoom,
        folders: Folders,
        *,
        allowed: AllowedFolders,
        options: JobOptions,
        budget: ByteBudget,
    ) -> None:
        self._registry = registry
        self._room = room
        self._folders = folders
        self._allowed = allowed
        self._options = options
        self._budget = budget
        self._admission = threading.Lock()  # one new job at a time: keys and places are counted
        self._closed = False
        self._audit = JobAudit(room)

    def close(self) -> None:
        """Make no more."""
        with self._admission:
            self._closed = True

    def from_upload(self, name: str, how: How, *, size: int | None) -> Upload:
        """See `Jobs.create_from_upload`."""
        with refusing(self._room.audit):
            return self._from_upload(name, how, size=size)

    def _from_upload(self, name: str, how: How, *, size: int | None) -> Upload:
        check_name(name)
        request = self._checked(
            JobRequest(source="upload", name=name, settings=how.settings, reading=how.reading)
        )
        if not self._registry.has_key(how.key):  # the job that a key has made needs no place
            self._check_places()
        if size is not None:
            if size > self._options.upload_bytes:
                raise too_large(self._options.upload_bytes)
            self._folders.check_room(size)
        job_id = _new_id()
        folder = self._folders.incoming(job_id)

        def accept(digest: str, size: int) -> JobState:
            path = folder.input / name
            with refusing(self._room.audit):
                try:
                    check_one_file(path)
                except C2TError as error:
                    raise renamed(error, path, name) from error
                return self._admit(job_id, request, how.key, digest=digest, size=size)

        return Upload(
            folder, name, most=self._options.upload_bytes, budget=self._budget, accept=accept
        )

    def from_path(self, path: str, how: How) -> JobState:
        """See `Jobs.create_from_path`."""
        with refusing(self._room.audit):
            return self._from_path(path, how)

    def _from_path(self, path: str, how: How) -> JobState:
        place = self._allowed.find(path)
        check_name(place.name)
        request = self._checked(
            JobRequest(
                source="path",
                name=place.name,
                path=str(place),
                settings=how.settings,
                reading=how.reading,
            )
        )
        job_id = _new_id()
        folder = self._folders.incoming(job_id)
        with storing("a job"):
            folder.path.mkdir(mode=0o700)
        try:
            with request.cells(folder, self._allowed) as link:
                try:
                    check_one_file(link)
                except C2TError as error:
                    raise renamed(error, link, place.name) from error
            return self._admit(job_id, request, how.key)
        except BaseException:
            folder.remove()
            raise

    def from_cells(self, request: DescribeRequest, key: str | None) -> JobState:
        """See `Jobs.create_from_cells`."""
        with refusing(self._room.audit):
            return self._from_cells(request, key)

    def _from_cells(self, request: DescribeRequest, key: str | None) -> JobState:
        asked = self._checked(
            JobRequest(
                source="cells", name=CELLS_NAME, settings=request.settings, reading=DEFAULT_READING
            )
        )
        content = msgspec.json.encode(request)
        job_id = _new_id()

        def accept(digest: str, size: int) -> JobState:
            return self._admit(job_id, asked, key, digest=digest, size=size)

        folder = self._folders.incoming(job_id)
        most = self._options.upload_bytes
        with Upload(folder, CELLS_NAME, most=most, budget=self._budget, accept=accept) as upload:
            upload.write(content)
            return upload.finish()

    def _checked(self, request: JobRequest) -> JobRequest:
        """The request with the place of its table; refuse one that could only fail later."""
        if self._closed or self._room.stopping:
            problem = "the service is about to stop"
            raise StoppingError(problem, hint="send the cells again when it is back")
        self._room.model.bundle.manifest.need_task(DESCRIBE)
        options = self._room.describe_options(request.settings)
        check_options(self._room.model.bundle, options)
        request.reading.options(request.settings)
        request.reading.groups()
        if request.reading.orthologues is None:
            return request
        try:
            table = self._allowed.find(request.reading.orthologues)
        except PathRefusedError as error:
            problem = f"the table of orthologues: {error.problem}"
            hint = "put it where the service runs, into a folder given with --allow-folder"
            raise PathRefusedError(problem, hint=hint) from error
        reading = msgspec.structs.replace(request.reading, orthologues=str(table))
        return msgspec.structs.replace(request, reading=reading)

    def _check_places(self) -> None:
        waiting = sum(entry.waits for entry in self._registry.entries())
        if waiting >= self._options.waiting:
            problem = f"{waiting:,} jobs wait already"
            hint = "wait until some have ended, or put more cells into a job"
            raise JobsFullError(problem, hint=hint, retry_after=RETRY_SECONDS)

    def _admit(
        self,
        job_id: str,
        request: JobRequest,
        key: str | None,
        *,
        digest: str = "",
        size: int = 0,
    ) -> JobState:
        """Let a job whose parts lie in `incoming` be one, or find the one of its key."""
        made = self._folders.incoming(job_id)
        asked = request.digest(digest)
        with self._admission:
            earlier = self._registry.with_key(key, asked)
            if earlier is not None:
                made.remove()
                self._budget.give_back(size)
                return earlier.state
            self._check_places()
            bundle = self._room.model.bundle
            state = JobState(
                id=job_id,
                state="queued",
                name=request.name,
                source=request.source,
                settings=request.settings,
                created=now(),
            )
            stored = StoredJob(
                state=state,
                key=key,
                request=asked,
                input_bytes=size,
                bundle=bundle.digest,
                version=c2t.__version__,
            )
            self._audit.made(job_id, request.name, request.settings, sha256=digest)
            with storing("a job"):
                request.write(made)
                folder = self._folders.put_in_place(job_id)
            try:
                self._registry.add(JobEntry(stored, folder))
            except BaseException:
                folder.remove()
                raise
            return state


def _new_id() -> str:
    return secrets.token_hex(16)
