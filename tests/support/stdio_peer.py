"""The other side of a conversation in JSON-RPC: what a host program does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable
from typing import Any

from serve_cells import counted_cells

from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import Conversation, StdioOptions

SECONDS = 60  # nothing takes as long: a test that waits so long has failed


def describe_params(values: Any, **more: Any) -> dict[str, Any]:
    """Params of `describe` for counts [cells, genes]."""
    cells = [{"id": cell.id, "counts": cell.counts} for cell in counted_cells(values)]
    return {"cells": cells, **more}


class Talk:
    """Says and hears lines over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SECONDS)
        self.connection = connection
        self._lines = connection.makefile("rb")

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.connection.close()

    def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(data)

    def ask(self, request: object, method: str, params: object = None, **more: object) -> None:
        """Send a request."""
        content = {"jsonrpc": "2.0", "id": request, "method": method, **more}
        if params is not None:
            content["params"] = params
        self.say(json.dumps(content).encode() + b"\n")

    def tell(self, method: str, params: object) -> None:
        """Send a notification."""
        self.say(
            json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n"
        )

    def initialize(self) -> dict[str, Any]:
        """Come to know each other."""
        self.ask("hello", "initialize", {"protocol": 1})
        return self.answer("hello")["result"]

    def end_input(self) -> None:
        """Say that nothing more comes."""
        self.connection.shutdown(socket.SHUT_WR)

    def line(self) -> dict[str, Any] | None:
        """The next line; None at the end."""
        line = self._lines.readline()
        if not line:
            return None
        assert line.endswith(b"\n")
        message: dict[str, Any] = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self, request: object) -> dict[str, Any]:
        """The next line, which is an answer to this request."""
        message = self.line()
        assert message is not None
        assert "method" not in message, message
        assert message["id"] == request, message
        return message

    def error(self, request: object) -> tuple[int, dict[str, Any]]:
        """Code and data of the next line, which is an error."""
        error = self.answer(request)["error"]
        assert error["message"] == error["data"]["problem"]
        assert error["data"]["hint"]
        return error["code"], error["data"]

    def rest(self) -> Iterable[dict[str, Any]]:
        """All lines until the end."""
        while (message := self.line()) is not None:
            yield message


class Hosted(Talk):
    """A conversation in a thread."""

    def __init__(self, room: EngineRoom, options: StdioOptions | None = None) -> None:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # as little as there can be
        super().__init__(ours)
        self.lost: bool | None = None
        self._thread = threading.Thread(target=self._serve, args=(room, theirs, options))
        self._thread.start()

    def _serve(
        self, room: EngineRoom, connection: socket.socket, options: StdioOptions | None
    ) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            conversation = Conversation(room, stream, stream, options=options or StdioOptions())
            try:
                conversation.run()
                self.lost = False
            except ConnectionError:
                self.lost = True
            connection.shutdown(socket.SHUT_RDWR)
            conversation.join()

    def was_lost(self) -> bool | None:
        """Whether the service found, at its end, that nobody reads."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self.lost

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._thread.join(SECONDS)
