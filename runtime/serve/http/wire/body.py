"""Bodies of requests: read up to a limit and a time, and decoded into the types.

One decision: the limit counts what arrives, so that a body without a length, or with a false one,
ends where one with a true length does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from starlette.requests import Request

from c2t.runtime.serve.http.wire.problems import HttpError

JSON_TYPE = "application/json"
T = TypeVar("T")


def content_type(request: Request) -> str:
    """The type of a request's body without its parameters, in lower case; "" if none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_type(request: Request, *accepted: str) -> None:
    """Refuse bodies of other types, or compressed ones, which could grow without a limit.

    Raises:
        HttpError: 415.
    """
    given = content_type(request)
    if given not in accepted:
        problem = f"the body's Content-Type is {given!r}"
        raise HttpError(415, problem, hint=f"send {' or '.join(accepted)}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        problem = f"the body's Content-Encoding is {encoding!r}"
        raise HttpError(415, problem, hint="send the body as it is")


def announced(request: Request) -> int | None:
    """Bytes of the body as the client says; the server has refused what is no number."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)


async def read_body(request: Request, *, limit: int, seconds: float) -> bytearray:
    """Read a whole body.

    Args:
        request: Nothing of its body was read.
        limit: Most bytes.
        seconds: How long it may take.

    Raises:
        HttpError: 413, or 408.
        ClientDisconnect: The client has gone.
    """
    check_length(announced(request), limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                check_length(len(body) + len(piece), limit)
                body += piece
    except TimeoutError:
        problem = f"the body did not arrive within {seconds:g} s"
        raise _too_slow(problem) from None
    return body


async def read_pieces(request: Request, *, seconds: float) -> AsyncIterator[bytes]:
    """Read a body piece by piece.

    Args:
        seconds: How long the next piece may take.

    Raises:
        HttpError: 408.
        ClientDisconnect: The client has gone.
    """
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await anext(pieces, None)
        except TimeoutError:
            problem = f"nothing more of the body arrived for {seconds:g} s"
            raise _too_slow(problem) from None
        if piece is None:
            return
        yield piece


def check_length(length: int | None, limit: int) -> None:
    """Refuse a body that is too long.

    Raises:
        HttpError: 413.
    """
    if length is not None and length > limit:
        problem = f"the body has more than {limit:,} bytes"
        hint = "send fewer cells at a time, or make a job of a file"
        raise HttpError(413, problem, hint=hint, reason="too_large")


def decode(decoder: msgspec.json.Decoder[T], body: bytes | bytearray) -> T:
    """Decode JSON strictly into the decoder's type.

    Raises:
        HttpError: 400: no JSON. 422: other JSON than the type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        hint = "the types of all requests are in /openapi.json"
        raise HttpError(422, str(error), hint=hint) from error
    except RecursionError as error:
        problem = "the body is nested too deeply"
        raise HttpError(400, problem, hint="send flat JSON") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"the body is no JSON in UTF-8: {error}"
        raise HttpError(400, problem, hint="send one JSON object") from error


def _too_slow(problem: str) -> HttpError:
    """408: the connection ends with the answer, as nobody knows what else will arrive on it."""
    hint = "send it faster, or less at a time"
    headers = {"Connection": "close"}
    return HttpError(408, problem, hint=hint, headers=headers, reason="too_slow")
