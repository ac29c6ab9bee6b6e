"""Bodies of requests: read up to a limit and a time, and decoded into the types.

One decision: the limit counts what arrives, so that a body without a length, or with a false one,
ends where one with a true length does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from starlette.requests import Request

from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.wire.problems import HttpError, shown

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
        problem = f"the body's Content-Type is {shown(given)}"
        raise HttpError(415, problem, hint=f"send {' or '.join(accepted)}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        problem = f"the body's Content-Encoding is {shown(encoding)}"
        raise HttpError(415, problem, hint="send the body as it is")


def announced(request: Request) -> int | None:
    """Bytes of the body as the client says; the server has refused what is no number."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)


class Bodies:
    """The JSON bodies of a service: each is bounded, and all together are.

    Args:
        options: Says how.
    """

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """A whole body. What is made of it in the block may be ten times as large.

        Args:
            request: Nothing of its body was read.

        Raises:
            HttpError: 413; 408; or 429: the bodies of all requests together are too much.
            ClientDisconnect: The client has gone.
        """
        limit, seconds = self._options.body_bytes, self._options.body_seconds
        check_length(announced(request), limit)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(seconds):
                    async for piece in request.stream():
                        check_length(len(body) + len(piece), limit)
                        self._hold(len(piece))
                        body += piece
            except TimeoutError:
                problem = f"the body did not arrive within {seconds:g} s"
                raise _too_slow(problem) from None
            yield body
        finally:
            self._held -= len(body)

    def _hold(self, more: int) -> None:
        if self._held + more > self._options.bodies_bytes:
            problem = f"requests of {self._held:,} bytes are being read already"
            hint = "send it again in some seconds, or fewer cells at a time"
            headers = {"Retry-After": "2"}
            raise HttpError(429, problem, hint=hint, headers=headers, reason="bodies")
        self._held += more


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
