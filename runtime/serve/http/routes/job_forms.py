"""How a job is asked for: its parameters in an address, or its JSON.

One decision: what an address says is decoded into the same types as JSON, so the same limits hold.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from c2t.runtime.serve.http.wire.body import decode
from c2t.runtime.serve.http.wire.problems import HttpError, shown
from c2t.runtime.serve.jobs.state import DEFAULT_READING, DEFAULT_SETTINGS, Reading, ResultFormat
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.serve.room.names_once import check_request

T = TypeVar("T", bound=msgspec.Struct)

KEY_MAX = 255
SEVERAL = ("cells",)  # parameters that may be given several times
Place = Annotated[int, Meta(ge=0, le=1 << 53)]


class PathJob(msgspec.Struct, forbid_unknown_fields=True):
    """A job of a file that lies where the service runs.

    Args:
        path: Absolute, in a folder that the service was allowed.
        settings: How to describe.
        reading: How to read the file.
    """

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    settings: Settings = DEFAULT_SETTINGS
    reading: Reading = DEFAULT_READING


class FileName(msgspec.Struct, forbid_unknown_fields=True):
    """The parameter of an upload that is neither of describing nor of reading."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]


class JobsPage(msgspec.Struct, forbid_unknown_fields=True):
    """Which jobs to list."""

    first: Place = 0
    count: Annotated[int, Meta(ge=1, le=1000)] = 100


class ResultsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which results to send."""

    format: ResultFormat = "jsonl"
    first: Place | None = None
    count: Place | None = None


class _Which(msgspec.Struct):
    """What tells the two kinds of JSON apart; all else is skipped."""

    path: msgspec.Raw | UnsetType = UNSET


_which = msgspec.json.Decoder(_Which)
_path_job = msgspec.json.Decoder(PathJob)
_cells_job = msgspec.json.Decoder(DescribeRequest)


def decode_job(body: bytes | bytearray) -> PathJob | DescribeRequest:
    """A job from JSON: it has a path, or cells.

    Raises:
        HttpError: 400 or 422.
        CellFileError: A name stands twice in one object.
    """
    if decode(_which, body).path is UNSET:
        request = decode(_cells_job, body)
        check_request(body, request)
        return request
    return decode(_path_job, body)


def upload_parameters(request: Request) -> tuple[str, Settings, Reading]:
    """Name, settings and reading of an upload.

    Raises:
        HttpError: 422.
    """
    name, settings, reading = read_query(request, FileName, Settings, Reading)
    return name.name, settings, reading


def read_query(request: Request, *kinds: type[Any]) -> list[Any]:
    """The parameters of an address, each in the first of these types that has it.

    Raises:
        HttpError: 422: a parameter that none has, that is given twice, or has a wrong value.
    """
    given: list[dict[str, object]] = [{} for _ in kinds]
    for name, value in request.query_params.multi_items():
        place = next((i for i, kind in enumerate(kinds) if name in kind.__struct_fields__), None)
        if place is None:
            known = ", ".join(field for kind in kinds for field in kind.__struct_fields__)
            problem = f"there is no parameter {shown(name)}"
            raise HttpError(422, problem, hint=f"the parameters are {known}" if known else NONE)
        if name in SEVERAL:
            values = given[place].setdefault(name, [])
            assert isinstance(values, list)
            values.append(value)
        elif name in given[place]:
            raise HttpError(422, f"the parameter {name!r} is given twice", hint="give it once")
        else:
            given[place][name] = value
    try:
        read = [
            msgspec.convert(values, kind, strict=False)
            for values, kind in zip(given, kinds, strict=True)
        ]
    except msgspec.ValidationError as error:
        raise HttpError(422, f"in the address: {error}", hint=PARAMETERS) from error
    for values, form in zip(given, read, strict=True):
        # "null" is taken for no value; an address leaves the parameter out instead.
        null = next((name for name in values if getattr(form, name) is None), None)
        if null is not None:
            raise HttpError(422, f"the parameter {null!r} is null", hint="leave it out")
    return read


PARAMETERS = "the parameters are described in /openapi.json"
NONE = "this address has no parameters"


def idempotency_key(request: Request) -> str | None:
    """The key by which a request that was sent twice makes one job.

    Raises:
        HttpError: 422: no key that can be kept.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= KEY_MAX and key.isascii() and key.isprintable()):
        problem = f"the Idempotency-Key has {len(key)} characters, or strange ones"
        raise HttpError(422, problem, hint=f"send 1 to {KEY_MAX} printable ASCII characters")
    return key


def last_event(request: Request) -> int:
    """Number of the last event that a listener saw; -1: none.

    Raises:
        HttpError: 422: no number.
    """
    sent = request.headers.get("last-event-id", "").strip()
    if not sent:
        return -1
    if not (sent.isascii() and sent.isdigit() and len(sent) < 19):
        problem = f"Last-Event-ID is {shown(sent)}"
        raise HttpError(422, problem, hint="send the `id` of an event of this job")
    return int(sent)
