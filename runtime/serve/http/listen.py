"""uvicorn as this service uses it: what it leaves to the application, and what it closes itself.

uvicorn has no limit for a head that never ends, and none for connections that ask nothing; both are
added here. What is not even HTTP is answered with a problem, too.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import h11
import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from c2t.runtime.serve.http.wire.problems import PROBLEM_TYPE, HttpError, problem_of

HEAD_BYTES_MAX = 32 << 10


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """Where the door is, and how long it stays open.

    Args:
        host: Address to listen at.
        port: 0 takes a free one.
        head_seconds: A connection without a request under way is closed when nothing was asked for
            one to two times this long.
        connections: Most connections; further ones are closed at once.
        drain_seconds: How long requests may take to end after a signal to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    head_seconds: float = 10.0
    connections: int = 1024
    drain_seconds: float = 30.0


def uvicorn_config(app: ASGIApp, options: ListenOptions) -> uvicorn.Config:
    """Uvicorn's settings for this door; `uvicorn.Server(...)` runs them."""

    class Protocol(PatientProtocol):
        head_seconds = options.head_seconds
        most = options.connections

    return uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # whoever sends X-Forwarded-For would say where it is from
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_graceful_shutdown=int(options.drain_seconds),
    )


class PatientProtocol(H11Protocol):
    """A connection that is closed when nothing is asked on it."""

    head_seconds: float
    most: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looked_at: object = self  # the cycle at the last look
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch a connection, or close it."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        # asyncio does this only for sockets that were made with the number of TCP, which those of
        # `socket.create_server` are not. Without it, the body of an answer waits 40 ms behind its
        # head, for the client's delayed acknowledgement.
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        hint = f"send a request of HTTP/1.1 whose head has at most {HEAD_BYTES_MAX >> 10} KiB"
        body = msgspec.json.encode(problem_of(HttpError(400, msg, hint=hint)))
        headers = [
            ("content-type", PROBLEM_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        reason = b"Bad Request"
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=400, headers=headers, reason=reason)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._looked_at is self.cycle:
            self.transport.abort()
            return
        self._looked_at = self.cycle if idle else self
        self._look_later()
