"""What a call over HTTP costs over the same call in the process.

Run `python benchmarks/serve_http_call.py`. Both describe the same cell with the same open model, in
turn, over a connection of loopback that stays open. The texts are compared before anything is
timed. The server's CPU time a call is measured too: it means something where other programs run.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn

import c2t
from c2t.runtime.serve.http.app import make_app
from c2t.runtime.serve.http.listen import ListenOptions, uvicorn_config
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.room.messages import (
    CountedCell,
    DescribeRequest,
    DescribeResponse,
    Settings,
)
from c2t.runtime.serve.room.room import EngineRoom

TINY = Path(__file__).parents[1] / "tests/data/tiny_bundle"
SETTINGS = Settings(min_coverage=0)  # a tiny bundle knows few of the genes
JSON = {"Content-Type": "application/json"}
EVENTS = {**JSON, "Accept": "text/event-stream"}


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method: str, path: str, body: bytes = b"", headers: Any = JSON) -> bytes:
        """The body of an answer."""
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        found = answer.read()
        assert answer.status == 200, found
        return found


def compare(bundle: Path, genes: int, calls: int) -> dict[str, Any]:
    """Time calls each way, in turn.

    Returns:
        Milliseconds by name, and how many calls.
    """
    counts = np.random.default_rng(0).poisson(4, genes) + 1
    cell = CountedCell(
        id="cell", counts={f"ENSG{1 + n:011d}": float(count) for n, count in enumerate(counts)}
    )
    request = DescribeRequest(cells=[cell], settings=SETTINGS)
    body, decoder = msgspec.json.encode(request), msgspec.json.Decoder(DescribeRequest)
    metrics = Metrics()
    with c2t.open(bundle) as model:
        room = EngineRoom(model, observer=metrics)
        room.warm_up()
        server = uvicorn.Server(uvicorn_config(make_app(room, metrics=metrics), ListenOptions()))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            client = Client(listening.getsockname()[1])

            def direct() -> DescribeResponse:
                return room.describe(request).wait()

            def over_http() -> bytes:
                return client.call("POST", "/v1/describe", body)

            ways = {
                "in_process": direct,
                "in_process_from_json": lambda: room.describe(decoder.decode(body)).wait(),
                "http": over_http,
                "events": lambda: client.call("POST", "/v1/describe", body, EVENTS),
                "healthz": lambda: client.call("GET", "/healthz"),
            }
            assert msgspec.json.decode(over_http(), type=DescribeResponse) == direct(), (
                "texts differ"
            )
            took: dict[str, list[float]] = {name: [] for name in ways}
            busy: dict[str, float] = dict.fromkeys(ways, 0.0)
            for _ in range(calls):
                for name, way in ways.items():
                    since, cpu = time.perf_counter(), time.process_time()
                    way()
                    took[name].append(1000 * (time.perf_counter() - since))
                    busy[name] += 1000 * (time.process_time() - cpu)
            server.should_exit = True
            thread.join()
        room.close()
    overhead = [over - here for over, here in zip(took["http"], took["in_process"], strict=True)]
    return {
        "genes": genes,
        "calls": calls,
        **{f"{name}_p50_ms": round(statistics.median(of), 2) for name, of in took.items()},
        **{f"{name}_cpu_ms": round(of / calls, 2) for name, of in busy.items()},
        "overhead_p50_ms": round(statistics.median(overhead), 2),
        "overhead_p95_ms": round(float(np.quantile(overhead, 0.95)), 2),
    }


def main() -> None:
    """Print a line of JSON for cells of few genes and of 3,000."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TINY)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    for genes in (60, 3000):
        print(json.dumps(compare(arguments.bundle, genes, arguments.calls)))


if __name__ == "__main__":
    main()
