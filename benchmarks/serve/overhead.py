"""What the doors cost: `python -m benchmarks.serve.overhead BUNDLE CELLS.h5ad`.

First one cell of 3,000 genes at a time, in turn: in the process; over HTTP; over SiLA 2 with TLS by
Describe Now, which is one call, and by Describe Cells, which is observable and takes three; and
over HTTP to a bare server (`bare.py`), which shows what this machine takes for HTTP and JSON alone.
Then the throughput of 16 HTTP clients against `describe` of the same cells in the same process, in
turn. Texts are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.describe.model import Model
from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom

from .cells import Cells, read_cells
from .service import Service, start_service
from .sila_clients import describe, open_client

GENES = 3000
CLIENTS, CELLS_A_REQUEST = 16, 16


def large_cell(cells: Cells) -> dict[str, Any]:
    """A real cell with at least 3,000 genes, cut to 3,000."""
    cell = next(cell for cell in cells.counted if len(cell["counts"]) >= GENES)
    return {"id": cell["id"], "counts": dict(list(cell["counts"].items())[:GENES])}


async def time_calls(
    service: Service, bare: str, *, model: Model, cell: dict[str, Any], calls: int
) -> dict[str, Any]:
    """Milliseconds of one call, in turn in this process and over each door."""
    room = EngineRoom(model)
    request = DescribeRequest(cells=[CountedCell(id=cell["id"], counts=cell["counts"])])
    body = json.dumps({"cells": [cell]}).encode()
    ours, barely = (
        http.client.HTTPConnection(url.removeprefix("http://")) for url in (service.url, bare)
    )

    def over_http(connection: http.client.HTTPConnection) -> dict[str, Any]:
        connection.request("POST", "/v1/describe", body, {"Content-Type": "application/json"})
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found

    async with open_client(service.sila_port, service.certificate) as client:
        sila_body = json.dumps([cell]).encode()
        here = room.describe(request).wait().cells[0]
        there = over_http(ours)["cells"][0]
        now = client.CellDescription.DescribeNow
        via_now = json.loads((await now(Cells=sila_body, Settings=""))["Results"])
        via_sila = json.loads(await describe(client, sila_body))
        texts = {here.text, there["text"], via_now["text"], via_sila["text"]}
        assert len(texts) == 1, "the texts differ"
        times: dict[str, list[float]] = {
            way: [] for way in ("in process", "http", "bare", "sila now", "sila observable")
        }
        for _ in range(calls):
            since = time.perf_counter()
            room.describe(request).wait()
            times["in process"].append(time.perf_counter() - since)
            since = time.perf_counter()
            over_http(ours)
            times["http"].append(time.perf_counter() - since)
            since = time.perf_counter()
            over_http(barely)
            times["bare"].append(time.perf_counter() - since)
            since = time.perf_counter()
            await now(Cells=sila_body, Settings="")
            times["sila now"].append(time.perf_counter() - since)
            since = time.perf_counter()
            await describe(client, sila_body)
            times["sila observable"].append(time.perf_counter() - since)
    room.close()
    median = {name: 1000 * statistics.median(values) for name, values in times.items()}
    return {
        "genes": len(cell["counts"]),
        "calls": calls,
        "p50_ms": {name: round(value, 2) for name, value in median.items()},
        "overhead_p50_ms": {
            name: round(
                1000
                * statistics.median(
                    there - here
                    for there, here in zip(times[name], times["in process"], strict=True)
                ),
                2,
            )
            for name in ("http", "sila now", "sila observable")
        },
    }


def throughput(url: str, cells: Cells) -> float:
    """Cells a second of 16 clients. Their bodies are made before: that is a host's own work."""
    bodies = [
        [json.dumps({"cells": part}).encode() for part in _parts(cells.counted[number::CLIENTS])]
        for number in range(CLIENTS)
    ]
    since = time.perf_counter()
    threads = [threading.Thread(target=_send, args=(url, some)) for some in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(cells.counted) / (time.perf_counter() - since)


def _parts(cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [
        cells[first : first + CELLS_A_REQUEST] for first in range(0, len(cells), CELLS_A_REQUEST)
    ]


def _send(url: str, bodies: list[bytes]) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    for body in bodies:
        connection.request("POST", "/v1/describe", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:300]


def main() -> None:
    """Write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, help="an .h5ad file with raw counts")
    parser.add_argument("large", type=Path, help="one with cells of at least 3,000 genes")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, c2t.open(arguments.bundle) as model:
        folder = Path(name)
        cells = read_cells(arguments.cells, arguments.bundle, folder)
        part = folder / "large"
        part.mkdir()
        large = large_cell(read_cells(arguments.large, arguments.bundle, part, limit=40))
        service = start_service(arguments.bundle, folder)
        found = {"c2t": c2t.__version__, "machine": platform.machine()}
        with _bare_server() as bare:
            found["one cell"] = asyncio.run(
                time_calls(service, bare, model=model, cell=large, calls=arguments.calls)
            )
        found["16 clients"] = compare_throughput(service.url, model, cells, arguments.rounds)
        service.stop()
    text = json.dumps(found, indent=2) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)


@contextmanager
def _bare_server() -> Iterator[str]:
    """The address of a bare server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serve.bare"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def compare_throughput(url: str, model: Model, cells: Cells, rounds: int) -> dict[str, Any]:
    """Cells a second of `describe` and of 16 clients, in turn, and the median of the ratios."""
    served, direct = [], []
    for _ in range(rounds):
        since = time.perf_counter()
        described = sum(1 for _ in model.describe(cells.path))
        direct.append(described / (time.perf_counter() - since))
        served.append(throughput(url, cells))
    ratios = [there / here for there, here in zip(served, direct, strict=True)]
    return {
        "cells": len(cells.counted),
        "cells_a_request": CELLS_A_REQUEST,
        "rounds": rounds,
        "describe_cells_s": round(statistics.median(direct), 1),
        "served_cells_s": round(statistics.median(served), 1),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
