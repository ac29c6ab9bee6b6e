"""Clients of the Unix socket, which speak JSON-RPC as a child's parent does."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

from .cells import Cells
from .tally import Tally

ANSWER_SECONDS = 300
WRONG_LINES = (
    b"{",
    b"[]",
    b"\xff\xfe",
    b"null",
    b'{"jsonrpc": "2.0", "id": 1, "method": "nothing"}',
    b'{"jsonrpc": "1.0", "id": 1, "method": "describe"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "describe", "params": {"cells": []}}',
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "describe",'
        b' "params": {"cells": [{"counts": {"x": 1}}]}}'
    ),
    b'{"jsonrpc": "2.0", "id": {}, "method": "describe"}',
    b"[" * 100_000,
)


class RpcClient:
    """One client; each conversation has a connection of its own.

    Args:
        path: The socket.
        cells: What to describe.
        tally: Counts what happened.
        seed: Of its choices.
    """

    def __init__(self, path: Path, cells: Cells, *, tally: Tally, seed: int) -> None:
        self._path, self._cells, self._tally = path, cells, tally
        self._draw = random.Random(seed)

    def run(self, stop: threading.Event) -> None:
        """Talk until told to stop."""
        ways = [*[self.describe] * 6, self.cancel, self.mistake, self.leave, self.read_slowly]
        while not stop.is_set():
            way = self._draw.choice(ways)
            kind = f"socket {way.__name__}"
            try:
                with _Conversation(self._path) as conversation:
                    way(kind, conversation)
            except (OSError, AssertionError, json.JSONDecodeError) as error:
                self._tally.failed(kind, repr(error))

    def describe(self, kind: str, peer: _Conversation) -> None:
        """Two requests at a time, one of them streamed."""
        asked = {number: self._some() for number in (1, 2)}
        for number, cells in asked.items():
            peer.ask("describe", {"cells": cells, "stream": number == 1}, number)
        texts = [""] * len(asked[1])
        while asked:
            line = peer.read()
            if line.get("method") == "text":
                given = line["params"]
                texts[given["cell"]] = texts[given["cell"]][: given["start"]] + given["text"]
            elif "result" in line:
                results = line["result"]["cells"]
                wrong = self._cells.wrong(results) + (len(results) != len(asked.pop(line["id"])))
                if line["id"] == 1:
                    wrong += sum(t != r["text"] for t, r in zip(texts, results, strict=True))
                self._tally.saw(kind, "answered", cells=len(results), wrong=wrong)
            elif "error" in line:
                del asked[line["id"]]
                self._see_error(kind, line, {-32002})

    def cancel(self, kind: str, peer: _Conversation) -> None:
        """Ask for many cells, and cancel them."""
        peer.ask("describe", {"cells": self._some(16)}, 1)
        time.sleep(self._draw.random() * 0.1)
        peer.ask("cancel", {"id": 1}, 2)
        left = {1, 2}
        while left:
            line = peer.read()
            if "id" in line and ("result" in line or "error" in line):
                left.discard(line["id"])
                if "error" in line:
                    self._see_error(kind, line, {-32004, -32002})
        self._tally.saw(kind, "answered")

    def mistake(self, kind: str, peer: _Conversation) -> None:
        """A line that cannot be right is answered, and the next one works."""
        peer.write(self._draw.choice(WRONG_LINES))
        line = peer.read()
        self._see_error(kind, line, set(range(-32768, -31999)))
        self.describe(kind, peer)

    def leave(self, kind: str, peer: _Conversation) -> None:
        """Go away in the middle."""
        peer.ask("describe", {"cells": self._some(8), "stream": True}, 1)
        time.sleep(self._draw.random() * 0.05)
        self._tally.saw(kind, "left")

    def read_slowly(self, kind: str, peer: _Conversation) -> None:
        """Ask much and read little."""
        for number in range(1, 5):
            peer.ask("describe", {"cells": self._some(8), "stream": True}, number)
        for _ in range(100):
            peer.read_some(64)
            time.sleep(0.05)
        self._tally.saw(kind, "read")

    def _some(self, number: int | None = None) -> list[dict[str, Any]]:
        return self._draw.sample(self._cells.counted, number or self._draw.choice((1, 2, 4, 8)))

    def _see_error(self, kind: str, line: dict[str, Any], right: set[int]) -> None:
        error = line.get("error", {})
        data = error.get("data") or {}
        self._tally.saw(kind, error.get("code"))
        if error.get("code") not in right or not data.get("problem") or "hint" not in data:
            self._tally.failed(kind, line)


class _Conversation:
    """A connection on which lines go both ways."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.connect(str(path))
        self._reader = self._socket.makefile("rb")
        self.ask("initialize", {"protocol": 1}, 0)
        answer = self.read()
        assert "result" in answer, answer

    def __enter__(self) -> _Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def ask(self, method: str, params: dict[str, Any], number: int) -> None:
        """Send a request."""
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.write(json.dumps(call).encode())

    def write(self, line: bytes) -> None:
        """Send a line."""
        self._socket.sendall(line + b"\n")

    def read(self) -> dict[str, Any]:
        """The next line."""
        line = self._reader.readline()
        assert line.endswith(b"\n"), f"the conversation ended: {line[:200]!r}"
        found: dict[str, Any] = json.loads(line)
        return found

    def read_some(self, most: int) -> bytes:
        """The next bytes."""
        return self._reader.read1(most)
