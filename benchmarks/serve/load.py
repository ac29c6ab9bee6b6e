"""Mixed load on all doors of a service for a long time: `python -m benchmarks.serve.load`.

Good, slow, rude and mistaken clients on HTTP, SiLA 2, and the Unix socket, by hand and through the
C library. Every text is compared with that of `c2t describe`. The memory of the service is looked
at all the time. It goes up and down by some 20 MB, as clients ask for other settings and the room
opens and closes ways of describing (four at most), each with buffers of its own. So the most that
it took is compared: in the last three tenths, and in the three before them, after a warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import c2t

from .c_clients import CClient, build_library
from .cells import Cells, read_cells
from .http_clients import HttpClient
from .rpc_clients import RpcClient
from .service import Service, start_service
from .sila_clients import SilaClient
from .tally import Tally

# The results of SiLA 2 commands are kept for ten minutes: until then memory must grow.
WARM_UP, LAST = 0.4, 0.3
LOOK_SECONDS = 5


def run(bundle: Path, file: Path, *, minutes: float, clients: int) -> dict[str, Any]:
    """Load a service and say what happened.

    Args:
        bundle: The model.
        file: Cells with raw counts.
        minutes: How long.
        clients: Of each door.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = read_cells(file, bundle, folder)
        small = read_small(file, bundle, folder)
        library = build_library(folder)
        service = start_service(bundle, folder)
        tally, memory = Tally(), []
        stop = threading.Event()
        threads = open_threads(service, cells, small, tally=tally, clients=clients, stop=stop)
        threads += [
            threading.Thread(
                target=CClient(library, service.socket, cells, tally=tally, seed=seed).run,
                args=(stop,),
            )
            for seed in range(4)
        ]
        since = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            while time.monotonic() < since + 60 * minutes and service.process.poll() is None:
                time.sleep(LOOK_SECONDS)
                memory.append(service.memory())
                print(
                    f"{time.monotonic() - since:6.0f} s  {memory[-1] / 1e6:7.1f} MB  "
                    f"{tally.cells:,} cells, {tally.wrong} wrong, "
                    f"{len(tally.failures)} failures",
                    flush=True,
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join(180)
        alive = service.process.poll() is None
        code = service.stop() if alive else service.process.returncode
        faults = [line.strip() for line in service.lines if "Traceback" in line or "ERROR" in line]
    warm, last = int(len(memory) * WARM_UP), int(len(memory) * (1 - LAST))
    before, after = max(memory[warm:last]), max(memory[last:])
    return {
        "c2t": c2t.__version__,
        "machine": platform.processor() or platform.machine(),
        "minutes": minutes,
        "clients": {"http": clients, "sila": clients, "socket": clients, "c": 4},
        "cells_compared": tally.cells,
        "cells_wrong": tally.wrong,
        "must_not_happen": tally.failures,
        "faults_in_the_log": faults[:20],
        "most_memory_after_warm_up_mb": round(before / 1e6, 1),
        "most_memory_at_the_end_mb": round(after / 1e6, 1),
        "memory_growth_percent": round(100 * (after / before - 1), 2),
        "memory_mb": [round(value / 1e6, 1) for value in memory[:: max(1, len(memory) // 60)]],
        "alive_to_the_end": alive,
        "exit_code": code,
        "calls": tally.report(),
    }


def open_threads(
    service: Service,
    cells: Cells,
    small: Cells,
    *,
    tally: Tally,
    clients: int,
    stop: threading.Event,
) -> list[threading.Thread]:
    """Threads of the clients of HTTP, the socket and SiLA 2."""
    path = service.socket
    http = [
        HttpClient(service.url, cells, small, tally=tally, seed=seed) for seed in range(clients)
    ]
    rpc = [RpcClient(path, cells, tally=tally, seed=100 + seed) for seed in range(clients)]
    sila = [
        SilaClient(service.sila_port, service.certificate, cells, tally=tally, seed=200 + seed)
        for seed in range(clients)
    ]

    async def talk() -> None:
        over = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.2)
            over.set()

        await asyncio.gather(watch(), *(client.run(over) for client in sila))

    threads = [threading.Thread(target=client.run, args=(stop,)) for client in (*http, *rpc)]
    return [*threads, threading.Thread(target=lambda: asyncio.run(talk()))]


def read_small(file: Path, bundle: Path, folder: Path) -> Cells:
    """The first cells of a file as a file of their own."""
    import anndata

    place = folder / "small.h5ad"
    anndata.read_h5ad(file)[:40].copy().write_h5ad(place)
    part = folder / "small"
    part.mkdir()
    return read_cells(place, bundle, part)


def main() -> None:
    """Write what happened as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, help="an .h5ad file with raw counts")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16, help="of each door")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    found = run(
        arguments.bundle, arguments.cells, minutes=arguments.minutes, clients=arguments.clients
    )
    text = json.dumps(found, indent=2) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
