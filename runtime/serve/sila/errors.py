"""Errors of c2t as defined execution errors of the feature, each with its two lines.

One decision: an error's class chooses its kind in one table. Its message is the problem, and on
a second line "hint: " with what to do. gRPC sends it in a header of at most 8 KiB, so long lines
are cut.
"""

from __future__ import annotations

from sila.framework import DefinedExecutionError, Feature

from c2t.runtime.serve.jobs.errors import (
    JobNotFoundError,
    JobsFullError,
    PathRefusedError,
    StorageError,
)
from c2t.runtime.serve.room.limits import OverloadedError, StoppingError
from c2t.runtime.system.errors import AuditError, C2TError, EngineError

PROBLEM_BYTES_MAX = 3000
HINT_BYTES_MAX = 1000


class CancelledError(C2TError):
    """Somebody cancelled the command."""

    def __init__(self) -> None:
        problem = "the command was cancelled"
        super().__init__(problem, hint="Get Results has the cells that were finished by then")


class JobFailedError(C2TError):
    """A job that could not describe its file to the end."""


# The first that fits; identifiers are those of `CellDescription.sila.xml`.
KINDS: tuple[tuple[type[C2TError], str], ...] = (
    (CancelledError, "Cancelled"),
    (JobFailedError, "JobFailed"),
    (OverloadedError, "Overloaded"),
    (JobsFullError, "Overloaded"),
    (StoppingError, "Stopping"),
    (PathRefusedError, "PathRefused"),
    (StorageError, "StorageFailed"),
    (AuditError, "EngineFailed"),
    (JobNotFoundError, "JobUnknown"),
    (EngineError, "EngineFailed"),
    (C2TError, "InputRefused"),
)


class DefinedErrors:
    """The defined execution errors of one server's feature.

    Args:
        feature: The feature that states them.
    """

    def __init__(self, feature: Feature) -> None:
        self._errors = feature.errors

    def of(self, error: C2TError) -> DefinedExecutionError:
        """The defined execution error that an error is."""
        kind = next(name for known, name in KINDS if isinstance(error, known))
        return self._errors[kind](two_lines(error.problem, error.hint))


def two_lines(problem: str, hint: str | None) -> str:
    """Problem and hint as a message."""
    line = _line(problem, PROBLEM_BYTES_MAX)
    return f"{line}\nhint: {_line(hint, HINT_BYTES_MAX)}" if hint else line


def _line(text: str, most: int) -> str:
    """A text on one line, cut to so many bytes."""
    content = " ".join(text.split()).encode("utf-8", "replace")
    if len(content) <= most:
        return content.decode()
    return content[:most].decode("utf-8", "ignore") + " …"
