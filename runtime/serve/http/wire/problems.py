"""Errors as RFC 9457 problems: `application/problem+json`.

One decision: a `C2TError` keeps its two lines. `detail` is the problem, `hint` says what to do; the
class of the error decides the status, in one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from c2t.runtime.serve.jobs.errors import (
    JobConflictError,
    JobNotFoundError,
    JobNotReadyError,
    JobsFullError,
    PathRefusedError,
    StorageError,
    TooLargeError,
)
from c2t.runtime.serve.room.limits import OverloadedError, StoppingError
from c2t.runtime.system.errors import AuditError, C2TError, EngineError

PROBLEM_TYPE = "application/problem+json"
# What is not listed is a problem of the input: 422.
STATUSES: tuple[tuple[type[C2TError], HTTPStatus], ...] = (
    (OverloadedError, HTTPStatus.TOO_MANY_REQUESTS),
    (JobsFullError, HTTPStatus.TOO_MANY_REQUESTS),
    (StoppingError, HTTPStatus.SERVICE_UNAVAILABLE),
    (AuditError, HTTPStatus.SERVICE_UNAVAILABLE),
    (EngineError, HTTPStatus.FAILED_DEPENDENCY),
    (JobNotFoundError, HTTPStatus.NOT_FOUND),
    (JobConflictError, HTTPStatus.CONFLICT),
    (JobNotReadyError, HTTPStatus.CONFLICT),
    (PathRefusedError, HTTPStatus.FORBIDDEN),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (StorageError, HTTPStatus.INSUFFICIENT_STORAGE),
)
SHOWN_MAX = 200  # characters
STOPPING_RETRY = 5  # seconds; a service that restarts takes about as long


class ProblemDetails(msgspec.Struct, kw_only=True):
    """Why something was refused or failed (RFC 9457).

    Args:
        title: The status in words.
        status: The HTTP status.
        detail: The problem, with its value.
        hint: What to do.
        type: Always "about:blank": the status says what kind of problem it is.
    """

    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    hint: str
    type: str = "about:blank"


class HttpError(C2TError):
    """A request that HTTP has its own status for.

    Args:
        status: That status.
        headers: To be sent along.
        reason: For `c2t_rejected_total`, where a limit or the guard refused.
    """

    def __init__(
        self,
        status: int,
        problem: str,
        *,
        hint: str,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(problem, hint=hint)
        self.status = status
        self.headers = dict(headers or {})
        self.reason = reason


def shown(sent: str) -> str:
    """What a client sent, as a problem may repeat it: one line, not too long."""
    return repr(sent if len(sent) <= SHOWN_MAX else f"{sent[:SHOWN_MAX]}…")


def status_of(error: C2TError) -> int:
    """The HTTP status of an error that a user can mend."""
    if isinstance(error, HttpError):
        return error.status
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return status
    return HTTPStatus.UNPROCESSABLE_ENTITY


def headers_of(error: C2TError) -> dict[str, str]:
    """What an error says in headers."""
    if isinstance(error, HttpError):
        return error.headers
    if isinstance(error, (OverloadedError, JobsFullError)):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, (StoppingError, AuditError)):
        return {"Retry-After": str(STOPPING_RETRY)}
    return {}


def problem_of(error: C2TError) -> ProblemDetails:
    """An error in RFC 9457's form."""
    status = HTTPStatus(status_of(error))
    return ProblemDetails(
        title=status.phrase, status=status.value, detail=error.problem, hint=error.hint
    )


def problem_response(error: C2TError) -> Response:
    """The answer that an error is."""
    details = problem_of(error)
    body = msgspec.json.encode(details)
    return Response(body, details.status, headers_of(error), media_type=PROBLEM_TYPE)
