"""The memory that a large upload takes: `python -m benchmarks.serve.upload BUNDLE`.

A file of 200,000 cells is made, sent over HTTP in pieces, and described for a while. The service's
own memory is looked at all the time, and compared with that before.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np

import c2t
from c2t.runtime.bundle.bundle import open_bundle

from .service import Service, start_service

PORTION = 5_000
PIECE = 1 << 20
SEED = 15


def make_file(path: Path, genes: list[str], *, cells: int, genes_a_cell: int) -> None:
    """Write raw counts, portion by portion.

    Args:
        path: The `.h5ad` file.
        genes: Ensembl ids of its columns.
        cells: How many.
        genes_a_cell: With a count.
    """
    draw = np.random.default_rng(SEED)
    entries = cells * genes_a_cell
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, index in (("obs", [f"cell{n}" for n in range(cells)]), ("var", genes)):
            table = file.create_group(name)
            table.attrs.update(
                {
                    "encoding-type": "dataframe",
                    "encoding-version": "0.2.0",
                    "_index": "_index",
                    "column-order": np.array([], h5py.string_dtype()),
                }
            )
            column = table.create_dataset("_index", data=index, dtype=h5py.string_dtype())
            column.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        matrix.attrs["shape"] = [cells, len(genes)]
        matrix["indptr"] = np.arange(0, entries + 1, genes_a_cell)
        data = matrix.create_dataset("data", (entries,), "f4")
        indices = matrix.create_dataset("indices", (entries,), "i4")
        for first in range(0, cells, PORTION):
            count = min(PORTION, cells - first)
            chosen = draw.random((count, len(genes)), np.float32)
            chosen = np.sort(chosen.argpartition(genes_a_cell, 1)[:, :genes_a_cell], 1)
            place = slice(first * genes_a_cell, (first + count) * genes_a_cell)
            indices[place] = chosen.reshape(-1)
            data[place] = 1 + draw.negative_binomial(1, 0.4, chosen.size)


def measure(service: Service, path: Path, *, describe_seconds: float) -> dict[str, Any]:
    """Send a file, let it be described for a while, cancel it."""
    memory: dict[str, list[int]] = {"before": [], "upload": [], "job": []}
    phase, stop = ["before"], threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            memory[phase[0]].append(service.memory())

    looking = threading.Thread(target=look)
    looking.start()
    time.sleep(2)
    phase[0], since = "upload", time.perf_counter()
    with httpx.Client(base_url=service.url, timeout=600) as client:
        answer = client.post(
            "/v1/jobs",
            params={"name": path.name},
            content=_pieces(path),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.status_code == 202, answer.text
        seconds = time.perf_counter() - since
        phase[0], job = "job", answer.headers["Location"]
        time.sleep(describe_seconds)
        state = client.get(job).json()
        client.delete(job)
    stop.set()
    looking.join()
    assert state["state"] == "running", state
    peaks = {name: round(max(values) / 1e6, 1) for name, values in memory.items()}
    return {
        "bytes": path.stat().st_size,
        "upload_seconds": round(seconds, 2),
        "cells": state["cells"],
        "described_meanwhile": state["done"],
        "peak_memory_mb": peaks,
    }


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def main() -> None:
    """Write what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes-a-cell", type=int, default=500)
    parser.add_argument("--describe-seconds", type=float, default=60)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = open_bundle(arguments.bundle).genes.ensembl_id
        genes = [gene.decode() for gene in ids[:2000].tolist()]
        path = folder / "large.h5ad"
        make_file(path, genes, cells=arguments.cells, genes_a_cell=arguments.genes_a_cell)
        service = start_service(arguments.bundle, folder, sila=False)
        found = {"c2t": c2t.__version__, "machine": platform.machine()}
        found |= measure(service, path, describe_seconds=arguments.describe_seconds)
        service.stop()
    text = json.dumps(found, indent=2) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
