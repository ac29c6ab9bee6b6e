"""Streams of events, and who waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator

import msgspec
import pytest
from starlette.requests import Request

from c2t.runtime.serve.http.wire.events import event
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.http.wire.pieces import PiecesResponse
from c2t.runtime.serve.room.ticket import TextPiece

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


def test_an_event_has_one_line_a_field() -> None:
    sent = event("text", TextPiece(cell=0, start=3, text="two\nlines\r\u2028"), 7)
    fields = dict(line.split(b": ", 1) for line in sent.removesuffix(b"\n\n").split(b"\n"))
    assert fields.keys() == {b"id", b"event", b"data"}
    assert (fields[b"id"], fields[b"event"]) == (b"7", b"text")
    assert msgspec.json.decode(fields[b"data"])["text"] == "two\nlines\r\u2028"


def test_a_slow_reader_is_asked_for_nothing_ahead_and_given_up() -> None:
    made, closed = [], []

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            for number in range(1000):
                made.append(number)
                yield event("text", number)
        finally:
            closed.append(True)

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()  # the client stays
        return {}

    async def send(message: dict[str, object]) -> None:
        if len(made) == 3:
            await asyncio.Event().wait()  # the connection takes nothing more

    async def answer() -> None:
        response = PiecesResponse(
            events(),
            listener=Listener(Request(SCOPE, receive)),  # type: ignore[arg-type]
            stalled_seconds=0.05,
            media_type="text/event-stream",
        )
        await response(SCOPE, receive, send)  # type: ignore[arg-type]

    asyncio.run(answer())
    assert made == [0, 1, 2]
    assert closed


def test_a_listener_hears_other_threads_and_that_the_client_goes() -> None:
    async def listen() -> None:
        left = asyncio.Event()

        async def receive() -> dict[str, object]:
            await left.wait()
            return {"type": "http.disconnect"}

        with Listener(Request(SCOPE, receive)) as listener:  # type: ignore[arg-type]
            assert not await listener.wait(0.01)
            thread = threading.Thread(target=listener.wake)
            thread.start()
            assert await listener.wait(60)
            thread.join()
            assert not listener.gone
            left.set()
            assert await listener.wait(60)
            assert listener.gone
        return listener

    listener = asyncio.run(listen())
    listener.wake()  # a worker that finishes after the service has ended


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_time_that_is_over_ends_a_wait(seconds: float) -> None:
    async def wait() -> bool:
        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            return {}

        with Listener(Request(SCOPE, receive)) as listener:  # type: ignore[arg-type]
            return await listener.wait(seconds)

    assert not asyncio.run(wait())
