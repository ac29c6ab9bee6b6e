"""Columns, slices and files of a job of a million cells: time, and the memory that they need.

python benchmarks/serve_columns.py -o benchmarks/results/serve_columns.json

Journal, index and vectors are written as a job writes them, with made-up texts and embeddings.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2t.runtime.bench.record import finish, peak_resident_bytes, record
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.journal import Journal, RunMark
from c2t.runtime.output.record import Record
from c2t.runtime.serve.jobs.folders import JobFolder
from c2t.runtime.serve.jobs.picture.blob import Columns, read_blob, write_blob
from c2t.runtime.serve.jobs.picture.build import FROM_FILE, VECTORS, write_columns
from c2t.runtime.serve.jobs.picture.vectors import VectorFile
from c2t.runtime.serve.jobs.results import LineIndex, read_records, result_path, write_results

SEED = 20261129
WIDTH = 2048  # of an embedding
TYPES = 400
SLICES = 200  # of 100 cells
TEXT = (
    "This sample consists of a type {}, a cell of the body with a long definition that says what "
    "it is and does. It originates from the blood of a female with lupus during adulthood."
)


def write_job(folder: JobFolder, cells: int) -> None:
    """Write what a job keeps of its cells."""
    rng = np.random.default_rng(SEED)
    mark = RunMark(
        bundle="", cells=CellsMark(name="", bytes=0, sha256="", changed=0), rows="", n_rows=cells
    )
    folder.picture.mkdir()
    types = rng.integers(0, TYPES, cells).tolist()
    confidence = rng.random((cells, 2)).round(5).tolist()
    centres = rng.normal(size=(TYPES, WIDTH)).astype(np.float32)
    write_blob(folder.picture / FROM_FILE, Columns(cells=cells, arrays={}))
    with (
        LineIndex(folder.index) as index,
        Journal(
            folder.journal,
            mark,
            range(cells),
            kind=Record,
            watch=lambda start, record: index.append(start),
        ) as journal,
        VectorFile(folder.picture / VECTORS, WIDTH, done=0) as vectors,
    ):
        for row in range(cells):
            vectors.append(centres[types[row]])
            journal.append(
                Record(
                    row=row,
                    cell=f"AAACCTGAGAAACCAT-{row}",
                    text=TEXT.format(types[row]),
                    confidence=confidence[row][0],
                    cell_type_confidence=confidence[row][1],
                    genes_used=2048,
                    error=None,
                )
            )


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    since = time.perf_counter()
    work()
    return round(time.perf_counter() - since, 4)


def measure(folder: JobFolder, cells: int, what: str) -> dict[str, Any]:
    """One measurement, for a process of its own: its peak memory is that of this work."""
    before = peak_resident_bytes()
    target = folder.path / "columns"
    if what == "columns":

        def columns() -> None:
            records = read_records(folder, 0, cells)
            write_columns(target, folder.picture, records, count=cells, width=WIDTH)

        took = {"seconds": seconds(columns), "bytes": target.stat().st_size}
        blob = read_blob(target)
        assert blob.cells == cells
        assert np.isfinite(blob.arrays["x"]).all()
        assert len(blob.categories["cell_type"]) == TYPES
    elif what == "slices":
        starts = np.random.default_rng(SEED).integers(0, cells - 100, SLICES).tolist()
        times = [seconds(lambda: list(read_records(folder, start, 100))) for start in starts]  # noqa: B023
        for start in starts[:10]:
            assert [found.row for found in read_records(folder, start, 100)] == list(
                range(start, start + 100)
            )
        took = {"median_seconds_of_100_cells": float(np.median(times)), "slices": SLICES}
    else:
        path = result_path(folder, "cells.h5ad", what)  # type: ignore[arg-type]
        took = {"seconds": seconds(lambda: write_results(folder, path, path, cells, {}))}
        took["bytes"] = path.stat().st_size
    return took | {"peak_bytes": peak_resident_bytes(), "peak_bytes_before": before}


def main() -> None:
    """Write a job, measure what is made of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "WHAT"), help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.measure:
        folder, what = options.measure
        found = measure(JobFolder(Path(folder)), options.cells, what)
        sys.stdout.buffer.write(msgspec.json.encode(found))
        return
    document = record("serve_columns", threads=1, seed=SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = JobFolder(Path(name))
        wrote = seconds(lambda: write_job(folder, options.cells))
        document |= {"cells": options.cells, "seconds_to_write_the_job": wrote}
        document["bytes_of_the_job"] = folder.bytes()
        for what in ("columns", "slices", "jsonl", "csv", "parquet"):
            command = [sys.executable, "-P", __file__, "--measure", name, what]
            command += ["--cells", str(options.cells)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            document[what] = msgspec.json.decode(done.stdout)
    finish(document, [], options.output)


if __name__ == "__main__":
    main()
