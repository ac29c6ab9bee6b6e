"""Answers that are sent piece by piece: streams of events, and files.

One decision: the next piece is made only when the connection has taken the last one. So a slow
reader holds nothing up, and costs no memory; one that reads nothing at all is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from c2t.runtime.serve.http.wire.listener import Listener


class PiecesResponse(Response):
    """Sends pieces until their generator ends, or the client has gone.

    Args:
        pieces: Gives them; it is closed in any case.
        listener: Notices when the client goes; not entered yet.
        stalled_seconds: How long a reader may take nothing before it counts as gone.
        media_type: What they are.
        headers: Sent along; without a Content-Length, each piece is a chunk.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        listener: Listener,
        stalled_seconds: float,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers.update(headers or {})
        self._pieces = pieces
        self._listener = listener
        self._stalled = stalled_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. `receive` is the listener's."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._pieces) as pieces:
            with self._listener as listener:
                await send(start)
                async for piece in pieces:
                    if listener.gone:
                        return
                    try:
                        async with asyncio.timeout(self._stalled):
                            message = {"type": "http.response.body", "body": piece}
                            await send({**message, "more_body": True})
                    except TimeoutError:
                        return
                await send({"type": "http.response.body", "body": b""})
