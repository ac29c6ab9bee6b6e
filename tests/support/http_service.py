"""The HTTP door over real sockets: uvicorn in a thread, a real room behind it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from c2t.runtime.serve.http.app import make_app
from c2t.runtime.serve.http.listen import ListenOptions, uvicorn_config
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.room import EngineRoom

DEADLINE = 60
JSON = {"Content-Type": "application/json"}
EVENTS = {**JSON, "Accept": "text/event-stream"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that runs."""

    port: int
    client: httpx.Client
    room: EngineRoom
    metrics: Metrics
    options: HttpOptions

    def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """All that comes back for these bytes until the service closes the connection.

        Args:
            end: Close our side for writing behind them.
        """
        with self.connect() as connection:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def connect(self) -> socket.socket:
        """A connection of its own."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def request(self, start: str, *headers: str, body: bytes = b"") -> bytes:
        """A request as bytes, with this service's Host."""
        head = [start, f"Host: 127.0.0.1:{self.port}", "Connection: close", *headers, "", ""]
        return "\r\n".join(head).encode("latin-1") + body


@contextmanager
def serving(
    room: EngineRoom,
    options: HttpOptions | None = None,
    *,
    jobs: Jobs | None = None,
    metrics: Metrics | None = None,
    listen: ListenOptions | None = None,
    ready: bool = True,
) -> Iterator[Service]:
    """Serve a room at a free port, until the block ends.

    Args:
        ready: Wait until cells can be described.
    """
    options, metrics = options or HttpOptions(), metrics or Metrics()
    app = make_app(room, jobs, options, metrics=metrics)
    server = uvicorn.Server(uvicorn_config(app, listen or ListenOptions()))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            headers = {}
            if options.token is not None:
                headers["Authorization"] = f"Bearer {options.token}"
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, headers=headers, timeout=DEADLINE) as client:
                wait_until(lambda: not ready or client.get("/readyz").status_code == 200)
                yield Service(port=port, client=client, room=room, metrics=metrics, options=options)
        finally:
            server.should_exit = True
            thread.join(DEADLINE)


def wait_until(true: Any) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def read_all(connection: socket.socket) -> bytes:
    """What a connection gives until it is closed, also by force."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def sse(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event of a stream; comments are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem of an answer, in the form of RFC 9457."""
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found.keys() == {"type", "title", "status", "detail", "hint"}
    assert found["status"] == answer.status_code
    assert found["detail"]
    assert found["hint"]
    return found
