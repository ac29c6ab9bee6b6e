"""Server-sent events: their form, and a response that sends them as they come.

One decision: a stream is a generator that is asked for the next events only when the connection has
taken the last ones. So a slow reader gets fewer, larger events, and holds nothing up. A comment is
sent now and then into a silent stream, so that proxies keep it open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EVENTS_TYPE = "text/event-stream"
HEARTBEAT = b":\n\n"
_encode = msgspec.json.Encoder().encode


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One event.

    Args:
        name: What happened.
        data: Sent as JSON, which has no line breaks.
        number: Its id; who comes back sends the last one as `Last-Event-ID`.
    """
    identity = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (identity, name.encode("ascii"), _encode(data))


class EventResponse(Response):
    """Sends events until their generator ends.

    Args:
        events: Gives what is to be sent next, whole events, and ends by itself when the client has
            gone. It is closed in any case.
        stalled_seconds: How long a reader may read nothing before it counts as gone.
    """

    media_type = EVENTS_TYPE

    def __init__(self, events: AsyncGenerator[bytes, None], *, stalled_seconds: float) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
        self._events = events
        self._stalled = stalled_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. `receive` belongs to whoever gives them."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._events) as events:
            await send(start)
            try:
                async for piece in events:
                    async with asyncio.timeout(self._stalled):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                return
            await send({"type": "http.response.body", "body": b""})
