"""`POST /v1/describe`: cells in, texts out; as JSON, or as events while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.readiness import Readiness
from c2t.runtime.serve.http.routes.settings_check import SettingsCheck
from c2t.runtime.serve.http.wire.accept import choose_type
from c2t.runtime.serve.http.wire.answers import json_response
from c2t.runtime.serve.http.wire.body import JSON_TYPE, Bodies, check_type, decode
from c2t.runtime.serve.http.wire.events import EVENTS_TYPE, HEARTBEAT, event, event_response
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.http.wire.problems import problem_of
from c2t.runtime.serve.room.messages import DescribeRequest, UnreadRequest
from c2t.runtime.serve.room.names_once import check_request, fields_once
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.ticket import CellDone, TextPiece, Ticket
from c2t.runtime.system.errors import C2TError

# Reading a cell takes about 1 ms: more of them are read in a thread, as others wait for the loop.
READ_HERE = 4
# Each send costs about 0.15 ms: texts are sent this often, in seconds, however fast they grow.
EVENTS_INTERVAL = 0.03
LOOK_INTERVAL = 0.005  # how late the end of the texts may be seen meanwhile
T = TypeVar("T")


class Warned(msgspec.Struct):
    """What is doubtful about the request as a whole."""

    warning: str


class Done(msgspec.Struct):
    """All cells are finished."""

    cells: int


class DescribeRoute:
    """Answers requests for texts.

    Args:
        room: Describes.
        options: Limits of the door.
        readiness: Knows whether the engines are open.
        bodies: Receives requests.
    """

    def __init__(
        self, room: EngineRoom, options: HttpOptions, *, readiness: Readiness, bodies: Bodies
    ) -> None:
        self._room = room
        self._bodies = bodies
        self._options = options
        self._readiness = readiness
        self._check = SettingsCheck(room)
        self._decoder = msgspec.json.Decoder(DescribeRequest)
        self._quick_decoder = msgspec.json.Decoder(UnreadRequest)

    async def answer(self, request: Request) -> Response:
        """Answer one request. A client that goes away takes its cells along."""
        kind = choose_type(request, JSON_TYPE, EVENTS_TYPE)
        check_type(request, JSON_TYPE)
        stream, listener = kind == EVENTS_TYPE, Listener(request)
        async with self._bodies.read(request) as body:
            ticket = await self._describe(body, wake=listener.wake, stream=stream)
        del body  # it is larger than all that is kept while the cells wait
        if stream:
            return event_response(self._stream(ticket, listener), listener, self._options)
        with listener:
            try:
                while not (ticket.finished or listener.gone):
                    await listener.wait()
                if listener.gone:
                    raise ClientDisconnect
                return json_response(ticket.response())
            finally:
                ticket.cancel()

    async def _stream(self, ticket: Ticket, listener: Listener) -> AsyncGenerator[bytes, None]:
        try:
            warnings = (event("warning", Warned(warning)) for warning in ticket.warnings)
            yield HEARTBEAT + b"".join(warnings)
            while not listener.gone:
                last = ticket.finished
                happened = b"".join(map(_event, ticket.take()))
                if happened:
                    yield happened
                if last:
                    ticket.take()  # fails where the engine did
                    yield event("done", Done(ticket.cells))
                    return
                if happened:
                    await _pause(ticket, listener)
                elif not await listener.wait(self._options.heartbeat_seconds):
                    yield HEARTBEAT
        except C2TError as error:
            yield event("problem", problem_of(error))
        finally:
            ticket.cancel()

    async def _describe(self, body: bytearray, *, wake: Callable[[], None], stream: bool) -> Ticket:
        """Read a request and give its cells to the room."""
        unread = self._unread(body)
        if unread is not None:
            describe = partial(self._room.describe_unread, unread, stream=stream, wake=wake)
            ticket = await self._run(describe, unread)
            if ticket is not None:
                return ticket
        asked = decode(self._decoder, body)
        check_request(body, asked)
        return await self._run(partial(self._room.describe, asked, stream=stream, wake=wake), asked)

    def _unread(self, body: bytearray) -> UnreadRequest | None:
        """A request with its counts as they are; None where its decoder must say what is wrong."""
        try:
            request = self._quick_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return request if fields_once(body, request) else None

    async def _run(self, describe: Callable[[], T], asked: DescribeRequest | UnreadRequest) -> T:
        """Call the room, in a thread where that takes long."""
        usual = self._check(asked.settings)
        if usual and len(asked.cells) <= READ_HERE and self._readiness.engine is not None:
            return describe()
        return await asyncio.to_thread(describe)


def _event(happened: TextPiece | CellDone) -> bytes:
    return event("text" if isinstance(happened, TextPiece) else "cell", happened)


async def _pause(ticket: Ticket, listener: Listener) -> None:
    """Let texts grow before the next events, unless there is nothing more to wait for."""
    loop = asyncio.get_running_loop()
    until = loop.time() + EVENTS_INTERVAL
    while not (ticket.finished or listener.gone) and loop.time() < until:
        await asyncio.sleep(LOOK_INTERVAL)
