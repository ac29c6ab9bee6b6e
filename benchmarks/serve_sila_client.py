"""What a call through SiLA 2 costs over the same call in the process.

Run `python benchmarks/serve_sila_client.py`. Both describe the same cell of 3,000 genes with the
same open model, in turn, with a real client over TLS on this machine. The texts are compared before
anything is timed. Other load scripts may use `open_client` and `describe_once`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sila.client import Client, ClientConfig

import c2t
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.options import JobOptions
from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest, Settings
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.door import start
from c2t.runtime.serve.sila.options import SilaOptions

TINY = Path(__file__).parents[1] / "tests/data/tiny_bundle"
SETTINGS = Settings(min_coverage=0)  # a tiny bundle knows few of the genes


@asynccontextmanager
async def open_client(
    host: str, port: int, certificate: bytes | None = None
) -> AsyncIterator[Client]:
    """A client of a SiLA 2 server.

    Args:
        certificate: The server's, as PEM; None: without TLS.
    """
    config = ClientConfig(host, port, tls=certificate is not None, root_certificates=certificate)
    client = Client(config)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def describe_once(client: Client, cells: bytes, settings: str = "") -> tuple[float, bytes]:
    """Describe cells: the call, its end, its results.

    Args:
        cells: JSON, as the feature says.
        settings: JSON, or nothing.

    Returns:
        Seconds that it took, and the results as lines of JSON.
    """
    since = time.perf_counter()
    execution = await client.CellDescription.DescribeCells(Cells=cells, Settings=settings)
    async for _ in await execution.subscribe_status():
        pass
    responses = await execution.get_responses()
    return time.perf_counter() - since, responses["Results"]


def large_cell(genes: int) -> CountedCell:
    """A cell with counts of so many genes."""
    counts = np.random.default_rng(0).poisson(4, genes) + 1
    return CountedCell(
        id="cell", counts={f"ENSG{1 + n:011d}": float(count) for n, count in enumerate(counts)}
    )


async def compare(bundle: Path, genes: int, calls: int, *, tls: bool = True) -> dict[str, Any]:
    """Time calls both ways, in turn.

    Returns:
        Milliseconds by name, and how many calls.
    """
    cell = large_cell(genes)
    request = DescribeRequest(cells=[cell], settings=SETTINGS)
    body, settings = msgspec.json.encode([cell]), json.dumps({"min_coverage": 0})
    with tempfile.TemporaryDirectory() as folder, c2t.open(bundle) as model:
        room = EngineRoom(model)
        room.warm_up()
        jobs = Jobs(room, JobOptions(folder=Path(folder) / "jobs"))
        options = SilaOptions(folder=Path(folder) / "sila", port=0, insecure=not tls)
        door = await start(room, jobs, options)
        trusted = door.certificate_file.read_bytes() if door.certificate_file else None
        direct, through = [], []
        try:
            async with open_client("127.0.0.1", door.port, trusted) as client:
                here = room.describe(request).wait()
                _, lines = await describe_once(client, body, settings)
                assert lines == msgspec.json.encode(here.cells[0]) + b"\n", "the texts differ"
                for _ in range(calls):
                    since = time.perf_counter()
                    room.describe(request).wait()
                    direct.append(time.perf_counter() - since)
                    through.append((await describe_once(client, body, settings))[0])
        finally:
            await door.stop()
            jobs.close()
            room.close()
    overhead = [1000 * (s - d) for s, d in zip(through, direct, strict=True)]
    return {
        "genes": genes,
        "calls": calls,
        "tls": tls,
        "in_process_p50_ms": round(1000 * statistics.median(direct), 2),
        "sila_p50_ms": round(1000 * statistics.median(through), 2),
        "overhead_p50_ms": round(statistics.median(overhead), 2),
        "overhead_p95_ms": round(float(np.quantile(overhead, 0.95)), 2),
    }


def main() -> None:
    """Print a line of JSON for cells of one gene and of 3,000."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TINY)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--insecure", action="store_true", help="without TLS")
    arguments = parser.parse_args()
    for genes in (60, 3000):
        found = asyncio.run(
            compare(arguments.bundle, genes, arguments.calls, tls=not arguments.insecure)
        )
        print(json.dumps(found))


if __name__ == "__main__":
    main()
