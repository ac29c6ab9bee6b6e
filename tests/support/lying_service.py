"""A service at a socket that answers the C library as a script says: garbage, too late, nothing.

Here a fake is right: it stands for a peer that is not ours.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from broken_bytes import broken

Script = Callable[[socket.socket, Any], None]
HELLO = {
    "protocol": 1,
    "server": "c2t",
    "version": "0",
    "bundle": {"name": "tiny", "digest": "0" * 64, "precision": "fp32"},
    "limits": {"line_bytes": 100000, "requests": 4},
}
CELL = {
    "cell": "a",
    "text": "é😀 text",
    "confidence": 0.12345,
    "cell_type_confidence": None,
    "genes_used": 3,
    "error": None,
}
PROTOCOL, LOST, TIMEOUT = "-5", "-4", "-6"


def line(**content: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **content}).encode() + b"\n"


def result(cells: int = 2) -> dict[str, Any]:
    return {"cells": [CELL] * cells, "warnings": ["doubtful"]}


@contextmanager
def service(script: Script) -> Iterator[Path]:
    """A socket where a script talks to each program that connects."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(64)
            failed: list[BaseException] = []

            def talk() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection, connection.makefile("rb") as lines:
                        connection.settimeout(60)
                        try:
                            script(connection, lines)
                        except OSError:  # it has left
                            pass
                        except BaseException as error:
                            failed.append(error)

            thread = threading.Thread(target=talk)
            thread.start()
            try:
                yield path
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(60)
            assert not failed, failed


def greet(connection: socket.socket, lines: Any) -> None:
    call = json.loads(lines.readline())
    assert call["method"] == "initialize"
    connection.sendall(line(id=call["id"], result=HELLO))


def answering(*answers: bytes | Callable[[int], bytes]) -> Script:
    """A service that greets well, and answers `describe` with this."""

    def script(connection: socket.socket, lines: Any) -> None:
        greet(connection, lines)
        request = json.loads(lines.readline())["id"]
        for answer in answers:
            connection.sendall(answer(request) if callable(answer) else answer)
        lines.read()  # until the program leaves

    return script


def told(done: subprocess.CompletedProcess[str], call: str) -> list[str]:
    return [words for words in done.stdout.splitlines() if words.startswith(call)]


def fuzzing(seed: int) -> Script:
    """A service whose lines are broken in ways that the seed says."""
    numbers = iter(range(1 << 30))

    def script(connection: socket.socket, lines: Any) -> None:
        number = next(numbers)
        generator = random.Random(f"{seed} {number}")
        hello = line(id=1, result=HELLO)
        lines.readline()
        connection.sendall(broken(generator, hello) if number % 4 == 0 else hello)
        if not (call := lines.readline()):
            return
        request = json.loads(call).get("id", 0)  # it may cancel what it did not understand
        said = b"".join(
            line(method="text", params={"id": request, "cell": cell, "start": n, "text": "é"})
            for n in range(3)
            for cell in range(2)
        )
        done = {"id": request, "cell": 0, "result": CELL}
        said += line(method="cell", params=done) + line(id=request, result=result())
        said = broken(generator, said)
        cut = generator.randrange(len(said))
        connection.sendall(said[:cut])
        connection.sendall(said[cut:])
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    return script
