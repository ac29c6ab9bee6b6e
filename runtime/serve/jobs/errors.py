"""Why jobs refuse something: an error for each answer that a door gives."""

from __future__ import annotations

import os

from c2t.runtime.cells.option_words import options_as_fields
from c2t.runtime.system.errors import C2TError


class JobError(C2TError):
    """A job that cannot be made, or cannot give what is asked of it."""


class JobNotFoundError(JobError):
    """There is no job of that name: it was removed, has expired, or never was. HTTP: 404."""


class JobConflictError(JobError):
    """The Idempotency-Key stands for another request. HTTP: 409."""


class JobNotReadyError(JobError):
    """The job has to go further before it has this. HTTP: 409."""


class TooLargeError(JobError):
    """An upload has more bytes than one may have. HTTP: 413."""


class PathRefusedError(JobError):
    """A path that jobs may not read: outside the allowed folders, or no regular file. HTTP: 403."""


class StorageError(JobError):
    """The jobs' folder has no room, or cannot be written. HTTP: 507."""


class JobsFullError(JobError):
    """Too many jobs wait. HTTP: 429.

    Attributes:
        retry_after: Seconds after which it is worth another try, at least 1.
    """

    def __init__(self, problem: str, *, hint: str, retry_after: int) -> None:
        super().__init__(problem, hint=hint)
        self.retry_after = retry_after


def renamed(error: C2TError, path: os.PathLike[str], name: str) -> C2TError:
    """An error that calls a file by its own name: where it lies here is nobody's business.

    Options of the command line become fields of the job.
    """
    texts = (
        options_as_fields(text.replace(os.fspath(path), name))
        for text in (error.problem, error.hint)
    )
    problem, hint = texts
    changed = C2TError.__new__(type(error))
    changed.__dict__.update(error.__dict__)
    changed.problem, changed.hint, changed.args = problem, hint, (problem,)
    return changed
