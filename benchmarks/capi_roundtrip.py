"""What a program pays for the way to the model and back: `c2t_describe` without the engine.

cmake -S capi -B build-capi && cmake --build build-capi
python benchmarks/capi_roundtrip.py build-capi/libc2t.so.1 -o benchmarks/results/capi_roundtrip.json

The service is real up to the room: lines, JSON, checks of types, tickets, answers. The room answers
at once. Cells have 1,000, 3,000 and 10,000 genes. Ways and sizes are run in turn.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import tempfile
import time
from concurrent.futures import Future
from ctypes import byref, c_char_p, c_double, c_int32, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.bench.record import finish, record
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.describe.description import Description
from c2t.runtime.serve.room.messages import DescribeRequest
from c2t.runtime.serve.room.ticket import Ticket
from c2t.runtime.serve.stdio.run import run_stdio
from c2t.runtime.serve.stdio.streams import protocol_streams
from c2t.runtime.serve.stdio.unix_socket import SocketDoor

SIZES = (1_000, 3_000, 10_000)
REPEATS = 300
WRITES = 51
SEED = 0
TEXT = "A description of usual length. " * 12


class AnsweringRoom:
    """A room whose cells are described before they have come."""

    def __init__(self, bundle: Path) -> None:
        self.model = self
        self.bundle = open_bundle(bundle, verify=False)

    def describe(self, request: DescribeRequest, *, stream: bool, wake: Any) -> Ticket:
        """Answer with a text of usual length."""
        ticket = Ticket(len(request.cells), (), wake=wake)
        for place, cell in enumerate(request.cells):
            future: Future[Description] = Future()
            future.set_result(
                Description(
                    cell=cell.id or str(place),
                    text=TEXT,
                    confidence=0.5,
                    cell_type_confidence=None,
                    genes_used=len(cell.counts),
                    error=None,
                )
            )
            ticket.watch(future)
        return ticket


def serve(bundle: Path) -> None:
    """Be the child."""
    with protocol_streams() as (source, sink):
        run_stdio(AnsweringRoom(bundle), source, sink)  # type: ignore[arg-type]


class Library:
    """The few functions that are timed."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.c2t_last_problem.restype = c_char_p
        self.c.c2t_result_text.restype = c_char_p
        self.c.c2t_result_text.argtypes = [c_void_p, c_size_t]
        self.c.c2t_result_genes_used.restype = ctypes.c_int64
        self.c.c2t_result_genes_used.argtypes = [c_void_p, c_size_t]

    def check(self, code: int) -> None:
        """Stop at an error."""
        if code != 0:
            sys.exit(self.c.c2t_last_problem().decode())

    def open(self, **options: str) -> c_void_p:
        """Open a service."""
        handle, service = c_void_p(), c_void_p()
        self.check(self.c.c2t_options_new(byref(handle)))
        for key, value in options.items():
            self.check(self.c.c2t_options_set(handle, key.encode(), value.encode()))
        self.check(self.c.c2t_open(handle, byref(service)))
        self.c.c2t_options_free(handle)
        return service

    def request(self, genes: int) -> tuple[c_void_p, float]:
        """A cell of so many genes, and the median of the seconds that writing it took."""
        generator = np.random.default_rng(SEED)
        names = (c_char_p * genes)(*(b"ENSG%011d" % number for number in range(genes)))
        counts = (c_double * genes)(*generator.poisson(3, genes).astype(float))
        request = c_void_p()
        self.check(self.c.c2t_request_new(byref(request)))
        seconds = []
        for _ in range(WRITES):
            self.c.c2t_request_clear(request)
            start = time.perf_counter()
            self.check(self.c.c2t_request_add_cell(request, None))
            self.check(self.c.c2t_request_add_genes(request, names, counts, c_size_t(genes)))
            seconds.append(time.perf_counter() - start)
        return request, sorted(seconds)[WRITES // 2]

    def describe(self, service: c_void_p, request: c_void_p, genes: int) -> float:
        """Seconds of a call, whose result is checked."""
        result = c_void_p()
        start = time.perf_counter()
        code: int = self.c.c2t_describe(service, request, None, None, byref(result))
        seconds = time.perf_counter() - start
        self.check(code)
        assert self.c.c2t_result_text(result, 0).decode() == TEXT
        assert self.c.c2t_result_genes_used(result, 0) == genes
        self.c.c2t_result_free(result)
        return seconds


def figures(seconds: list[float]) -> dict[str, float]:
    """Milliseconds that half, and nearly all, of the calls took."""
    milliseconds = 1000 * np.array(seconds)
    return {
        name: round(float(np.quantile(milliseconds, share)), 3)
        for name, share in (("least", 0.0), ("p50", 0.5), ("p95", 0.95))
    }


def main() -> None:
    """Time calls over a child and over a socket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    bundles = Path(__file__).parents[1] / "tests" / "data"
    parser.add_argument("--bundle", type=Path, default=bundles / "tiny_bundle")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("capi_roundtrip", threads=1, seed=SEED)
    library = Library(options.library)
    library.c.c2t_describe.restype = c_int32
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "child"
        words = f'"{sys.executable}" -P "{Path(__file__).resolve()}" "$@"'
        command.write_text(f"#!/bin/sh\nexec {words}\n")
        command.chmod(0o700)
        # The socket's service runs in a process of its own, as it would.
        address = Path(folder) / "s"
        pid = os.fork()
        if pid == 0:
            with SocketDoor(AnsweringRoom(options.bundle), address):  # type: ignore[arg-type]
                time.sleep(3600)
        while not address.exists():
            time.sleep(0.01)
        try:
            ways = {
                "child": library.open(bundle=str(options.bundle), command=str(command)),
                "socket": library.open(socket=str(address)),
            }
            requests = {genes: library.request(genes) for genes in SIZES}
            times: dict[str, list[float]] = {}
            for repeat in range(options.repeats + 20):
                for genes, (request, _) in requests.items():
                    turns = list(ways.items())
                    for way, service in turns if repeat % 2 else reversed(turns):
                        seconds = library.describe(service, request, genes)
                        if repeat >= 20:
                            times.setdefault(f"{way}, {genes:,} genes", []).append(seconds)
            for service in ways.values():
                library.check(library.c.c2t_close(service))
        finally:
            os.kill(pid, 15)
            os.waitpid(pid, 0)
    document["milliseconds"] = {name: figures(seconds) for name, seconds in times.items()}
    document["milliseconds_to_write_a_request"] = {
        f"{genes:,} genes": round(1000 * seconds, 3) for genes, (_, seconds) in requests.items()
    }
    finish(document, [], options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
