"""The page of a report about a million cells: its size, its time, its memory.

    python benchmarks/report/large.py --cells 1000000 -o benchmarks/results/report_large.json

The file is generated: texts of 40 types, a plane, own labels, and counts of 2,000 genes, 40 a cell.
Everything that the page can show is asked for. The command runs in a process of its own, whose
peak memory the system states.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

import c2t
from c2t.runtime.output.h5ad_elements import write_element

TYPES, GENES, EACH = 40, 2000, 40
BLOCK = 50_000


def write_cells(path: Path, cells: int) -> None:
    """A described file, in the layout of anndata."""
    generator = np.random.default_rng(0)
    shares = 1 / np.arange(1, TYPES + 1)
    types = generator.choice(TYPES, cells, p=shares / shares.sum())
    names = np.array([f"type number {n} of the demonstration" for n in range(TYPES)], dtype=object)
    ends = (
        " It originates from the blood of a normal donor.",
        " It originates from the lung of a male.",
    )
    texts = np.array(
        [[f"This sample consists of a {name}, a cell.{end}" for end in ends] for name in names],
        dtype=object,
    )
    with h5py.File(path, "w") as file:
        obs, var = file.create_group("obs"), file.create_group("var")
        columns = {
            "c2t_description": texts[types, generator.integers(0, 2, cells)],
            "c2t_confidence": generator.beta(20, 1, cells),
            "c2t_cell_type_confidence": generator.beta(30, 1, cells),
            "c2t_error": np.full(cells, "", dtype=object),
            "own": names[np.where(generator.random(cells) < 0.9, types, 0)],
        }
        for name, values in columns.items():
            write_element(obs, name, values)
        write_element(obs, "_index", np.array([f"cell{n}" for n in range(cells)], dtype=object))
        write_element(var, "_index", np.array([f"GENE{n}" for n in range(GENES)], dtype=object))
        for table, order in ((obs, list(columns)), (var, [])):
            table.attrs["_index"] = "_index"
            table.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
            table.attrs["encoding-type"], table.attrs["encoding-version"] = "dataframe", "0.2.0"
        middle = generator.uniform(-20, 20, (TYPES, 2))
        write_element(file, "obsm", {})
        plane = middle[types] + generator.normal(0, 2, (cells, 2))
        write_element(file["obsm"], "X_umap", plane.astype(np.float32))
        matrix = file.create_group("X")
        matrix.attrs["encoding-type"], matrix.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        matrix.attrs["shape"] = (cells, GENES)
        matrix.create_dataset("indptr", data=np.arange(cells + 1, dtype=np.int64) * EACH)
        data = matrix.create_dataset("data", (cells * EACH,), np.float32, chunks=(1 << 18,))
        indices = matrix.create_dataset("indices", (cells * EACH,), np.int32, chunks=(1 << 18,))
        for start in range(0, cells, BLOCK):
            here = types[start : start + BLOCK]
            # A cell has the markers of its type, and others; columns increase within a row.
            others = (np.arange(EACH - 10) * (GENES // EACH) + 10)[None] + here[:, None]
            markers = here[:, None] * 10 % (GENES - 10) + np.arange(10)[None]
            genes = np.sort(np.concatenate([others, markers], axis=1), axis=1)
            place = slice(start * EACH, (start + len(here)) * EACH)
            indices[place] = genes.reshape(-1)
            data[place] = 1 + generator.poisson(2, genes.size)


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--output", "-o", type=Path)
    given = parser.parse_args()
    cells = given.cells
    with tempfile.TemporaryDirectory() as folder:
        path, page = Path(folder) / "described.h5ad", Path(folder) / "page.html"
        write_cells(path, cells)
        command = ["report", str(path), "-o", str(page), "--labels", "own"]
        since = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from c2t.cli import main; main()", *command], check=True
        )
        seconds = time.perf_counter() - since
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        result = {
            "command": f"python benchmarks/report/large.py --cells {cells} -o FILE",
            "c2t": c2t.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "python": platform.python_version(),
            "cells": cells,
            "types": TYPES,
            "genes": GENES,
            "file_megabytes": round(path.stat().st_size / 1e6, 1),
            "page_megabytes": round(page.stat().st_size / 1e6, 3),
            "seconds": round(seconds, 1),
            "peak_megabytes": round(peak / 1e6),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
