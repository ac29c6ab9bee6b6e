"""Clients of the HTTP door: good ones, slow ones, rude ones, and ones that make mistakes."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import httpx

from .cells import Cells
from .tally import Tally

JOB_SECONDS = 1200  # jobs wait for those before them, and cells of requests go first
# Method, path, body, headers, and the statuses that are right.
MISTAKES: list[tuple[str, str, bytes, dict[str, str], set[int]]] = [
    ("POST", "/v1/describe", b"{", {}, {400}),
    ("POST", "/v1/describe", b"[]", {}, {422}),
    ("POST", "/v1/describe", b'{"cells": []}', {}, {422}),
    ("POST", "/v1/describe", b'{"cells": [{"counts": {"CD3E": -1}}]}', {}, {422}),
    ("POST", "/v1/describe", b'{"cells": [{"counts": {"CD3E": "many"}}]}', {}, {422}),
    ("POST", "/v1/describe", b'{"cells": [{"counts": {"CD3E": NaN}}]}', {}, {400}),
    ("POST", "/v1/describe", b'{"cells": [{"counts": {"no such gene": 1}}]}', {}, {422}),
    ("POST", "/v1/describe", b'{"cells": [{"counts": {"CD3E": 1}}], "more": 1}', {}, {422}),
    (
        "POST",
        "/v1/describe",
        b'{"cells": [{"counts": {"CD3E": 1}}], "settings": {"max_new_tokens": 1000000}}',
        {},
        {422},
    ),
    ("POST", "/v1/describe", b"[" * 100_000, {}, {400, 422}),
    ("POST", "/v1/describe", b"\xff\xfe", {}, {400}),
    ("POST", "/v1/describe", b"", {"Content-Type": "text/plain"}, {400, 415}),
    ("GET", "/v1/describe", b"", {}, {405}),
    ("GET", "/nothing", b"", {}, {404}),
    ("GET", "/../../etc/passwd", b"", {}, {404}),
    ("GET", "/v1/jobs/none", b"", {}, {404}),
    ("GET", "/v1/jobs/..%2F..%2Fstate.sqlite", b"", {}, {404}),
    ("DELETE", "/v1/jobs/none", b"", {}, {404}),
    ("GET", "/v1/bundle", b"", {"Host": "evil.example"}, {403, 421}),
    ("GET", "/v1/bundle", b"", {"Origin": "https://evil.example"}, {403}),
    ("POST", "/v1/jobs?name=cells.h5ad", b"no file of cells", {}, {202, 415, 422}),
    ("POST", "/v1/jobs?name=../../x.h5ad", b"no file", {}, {422}),
    ("POST", "/v1/jobs", b'{"path": "/etc/passwd"}', {}, {403, 422}),
]
ABOUT = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/bundle", "/", "/v2/health/live")


class HttpClient:
    """One client that does something else each time.

    Args:
        url: Of the service.
        cells: What to describe.
        small_file: A file of cells to make jobs of, and its cells.
        tally: Counts what happened.
        seed: Of its choices.
    """

    def __init__(
        self, url: str, cells: Cells, small_file: Cells, *, tally: Tally, seed: int
    ) -> None:
        self._url, self._cells, self._small, self._tally = url, cells, small_file, tally
        self._draw = random.Random(seed)
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 0)
        # A connection of its own: threads do not share one.
        self._http = httpx.Client(base_url=url, timeout=JOB_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        ways = [
            *[self.describe] * 8,
            *[self.describe_stream] * 4,
            *[self.mistake] * 4,
            *[self.about] * 2,
            *[self.leave] * 2,
            self.read_slowly,
            self.abort_upload,
            self.run_job,
        ]
        while not stop.is_set():
            way = self._draw.choice(ways)
            kind = f"http {way.__name__}"
            try:
                way(kind)
            except (httpx.HTTPError, OSError, AssertionError) as error:
                self._tally.failed(kind, repr(error))

    def describe(self, kind: str) -> None:
        """Some cells in one request."""
        body = {"cells": self._some()}
        answer = self._http.post("/v1/describe", json=body)
        self._see(kind, answer)
        if answer.status_code == 200:
            results = answer.json()["cells"]
            wrong = self._cells.wrong(results) + (len(results) != len(body["cells"]))
            self._tally.saw(f"{kind}: texts", "compared", cells=len(results), wrong=wrong)

    def describe_stream(self, kind: str) -> None:
        """The same, and put the pieces of each text together."""
        body = {"cells": self._some()}
        texts, results = [""] * len(body["cells"]), {}
        headers = {"Accept": "text/event-stream"}
        with self._http.stream("POST", "/v1/describe", json=body, headers=headers) as answer:
            if answer.status_code != 200:
                answer.read()
                self._see(kind, answer)
                return
            for name, data in _events(answer):
                if name == "text":
                    cell, start = data["cell"], data["start"]
                    texts[cell] = texts[cell][:start] + data["text"]
                elif name == "cell":
                    results[data["cell"]] = data["result"]
        self._see(kind, answer)
        found = [results[number] for number in sorted(results)]
        wrong = self._cells.wrong(found) + (len(found) != len(texts))
        wrong += sum(text != result["text"] for text, result in zip(texts, found, strict=False))
        self._tally.saw(f"{kind}: texts", "compared", cells=len(found), wrong=wrong)

    def mistake(self, kind: str) -> None:
        """A request that cannot be right."""
        method, path, body, headers, right = self._draw.choice(MISTAKES)
        answer = self._http.request(
            method, path, content=body, headers={"Content-Type": "application/json", **headers}
        )
        self._see(kind, answer)
        if answer.status_code not in right and answer.status_code != 429:
            self._tally.failed(kind, f"{method} {path} {body[:60]!r} gave {answer.status_code}")
        elif answer.status_code >= 400:
            problem = answer.json()
            if not problem.get("detail") or "hint" not in problem:
                self._tally.failed(kind, f"{method} {path}: no two lines: {problem}")

    def about(self, kind: str) -> None:
        """What a monitor asks."""
        answer = self._http.get(self._draw.choice(ABOUT))
        self._see(kind, answer)
        assert answer.status_code == 200, answer.text[:200]

    def leave(self, kind: str) -> None:
        """Ask, and go away without the answer."""
        body = json.dumps({"cells": self._some()}).encode()
        with socket.create_connection(self._address) as connection:
            connection.sendall(self._head("POST", "/v1/describe", len(body)) + body)
            time.sleep(self._draw.random() * 0.1)
        self._tally.saw(kind, "left")

    def read_slowly(self, kind: str) -> None:
        """Read a stream some bytes at a time, then go away."""
        body = json.dumps({"cells": self._some(16)}).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect(self._address)
            head = self._head("POST", "/v1/describe", len(body), "text/event-stream")
            connection.sendall(head + body)
            until = time.monotonic() + 10
            while time.monotonic() < until and connection.recv(64):
                time.sleep(0.05)
        self._tally.saw(kind, "read")

    def abort_upload(self, kind: str) -> None:
        """Send the beginning of a large file."""
        with socket.create_connection(self._address) as connection:
            head = self._head("POST", "/v1/jobs?name=large.h5ad", 1 << 30, form="octet-stream")
            connection.sendall(head)
            connection.sendall(b"\x89HDF\r\n\x1a\n" + bytes(self._draw.randrange(1 << 22)))
            time.sleep(self._draw.random() * 0.2)
        self._tally.saw(kind, "aborted")

    def run_job(self, kind: str) -> None:
        """Send a file, wait, read the results, remove the job."""
        answer = self._http.post(
            "/v1/jobs",
            params={"name": self._small.path.name},
            content=self._small.path.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
        )
        self._see(kind, answer)
        if answer.status_code != 202:
            return
        job = answer.headers["Location"]
        until = time.monotonic() + JOB_SECONDS
        state: dict[str, Any] = {}
        while time.monotonic() < until:
            state = self._http.get(job).json()
            if state["state"] in ("done", "failed", "cancelled"):
                break
            time.sleep(0.2)
        assert state["state"] == "done", state
        lines = self._http.get(f"{job}/results").text.splitlines()
        results = [json.loads(line) for line in lines]
        wrong = self._small.wrong(results) + (len(results) != len(self._small.counted))
        self._tally.saw(f"{kind}: texts", "compared", cells=len(results), wrong=wrong)
        gone = self._http.delete(job)
        assert gone.status_code in (200, 204), gone.text[:200]

    def _some(self, number: int | None = None) -> list[dict[str, Any]]:
        number = number or self._draw.choice((1, 1, 1, 2, 4, 8, 16))
        return self._draw.sample(self._cells.counted, number)

    def _see(self, kind: str, answer: httpx.Response) -> None:
        self._tally.saw(kind, answer.status_code)
        if answer.status_code >= 500:
            self._tally.failed(kind, answer.text[:300])

    def _head(
        self, method: str, path: str, length: int, accept: str = "*/*", form: str = "json"
    ) -> bytes:
        host, port = self._address
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Content-Type: application/{form}",
            f"Content-Length: {length}",
            f"Accept: {accept}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()


def _events(answer: httpx.Response) -> Any:
    """Names and data of a stream's events."""
    name, data = "", ""
    for line in answer.iter_lines():
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield name, json.loads(data)
            name, data = "", ""
