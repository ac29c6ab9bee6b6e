"""Read and encode a generated file of cells, and report memory and speed.

Run `python benchmarks/read_cells.py --cells 200000 --layout csr -o benchmarks/results/NAME.json`.
The file is made in a process of its own, so that the peak memory reported is that of reading alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

GENES = 20_000
SEED = 20261122
PORTION = 5_000  # cells generated at a time


def vocabulary() -> GeneVocabulary:
    """Return a vocabulary of all the genes of the file."""
    rng = np.random.default_rng(SEED)
    return GeneVocabulary(
        ensembl_id=np.array([f"ENSG{i:011d}" for i in range(GENES)], dtype="S"),
        token=np.arange(4, GENES + 4, dtype=np.int32),
        median=rng.uniform(0.5, 5, GENES),
        alias=np.empty(0, dtype="S1"),
        alias_gene=np.empty(0, dtype=np.int32),
    )


def write_cells(path: Path, cells: int, genes_per_cell: int, layout: str, gzip: bool) -> None:
    """Write random counts: each cell has about `genes_per_cell` genes, most of them counted once.

    For CSC the same entries are written with the roles of cells and genes exchanged, so that each
    gene is found in `genes_per_cell * cells / GENES` cells.
    """
    lines, across = (cells, GENES) if layout == "csr" else (GENES, cells)
    per_line = genes_per_cell if layout == "csr" else genes_per_cell * cells // GENES
    rng = np.random.default_rng(SEED)
    options = {"compression": "gzip", "compression_opts": 1} if gzip else {}
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for key, names in (
            ("obs", [f"cell{i}" for i in range(cells)]),
            ("var", [f"ENSG{i:011d}" for i in range(GENES)]),
        ):
            table = file.create_group(key)
            table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
            table.attrs.update({"_index": "_index", "column-order": np.empty(0, text)})
            table.create_dataset("_index", data=names, dtype=text)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([cells, GENES])
        chunk = (1 << 18,)
        data = group.create_dataset("data", (0,), "f4", maxshape=(None,), chunks=chunk, **options)
        where = group.create_dataset(
            "indices", (0,), "i4", maxshape=(None,), chunks=chunk, **options
        )
        indptr = [0]
        portion = max(1, PORTION * genes_per_cell // per_line)
        for first in range(0, lines, portion):
            count = min(portion, lines - first)
            # Sorted without repeats: positive steps that fill the width.
            steps = rng.integers(1, max(2, 2 * across // per_line - 1), (count, per_line))
            columns = np.cumsum(steps, axis=1)
            inside = columns < across
            values = rng.geometric(0.6, inside.sum()).astype(np.float32)
            end = indptr[-1] + len(values)
            data.resize((end,))
            where.resize((end,))
            data[indptr[-1] :] = values
            where[indptr[-1] :] = columns[inside]
            indptr += (indptr[-1] + np.cumsum(inside.sum(axis=1))).tolist()
        group.create_dataset("indptr", data=np.array(indptr, dtype=np.int64))


def resident() -> int:
    """Return the peak resident size of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(path: Path) -> dict[str, float]:
    """Read and encode all cells once."""
    spec = GeneInput(
        input_size=4096,
        vocabulary_size=GENES + 4,
        hidden_size=768,
        layer_norm_epsilon=1e-12,
        pad_token=0,
        cls_token=2,
        eos_token=3,
    )
    genes = vocabulary()
    before = resident()
    start = time.perf_counter()
    with CellReader(path, genes, spec, CellOptions()) as reader:
        opened = time.perf_counter()
        used = sum(int(chunk.genes_used.sum()) for chunk in reader.chunks())
        done = time.perf_counter()
        cells = reader.n_cells
    return {
        "cells": cells,
        "genes_per_cell": used / cells,
        "seconds_to_open": opened - start,
        "cells_per_second": cells / (done - opened),
        "peak_resident_bytes_before": before,
        "peak_resident_bytes": resident(),
    }


def main() -> None:
    """Make the file, read it in a fresh process, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes-per-cell", type=int, default=2_000)
    parser.add_argument("--layout", choices=("csr", "csc"), default="csr")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the file is made; needs its size")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "cells.h5ad"
        size = (options.cells, options.genes_per_cell, options.layout, options.gzip)
        with context.Pool(1) as pool:
            pool.apply(write_cells, (path, *size))
        with context.Pool(1) as pool:
            figures = pool.apply(measure, (path,))
        result = {
            "benchmark": "read_cells",
            "layout": options.layout,
            "gzip": options.gzip,
            "file_bytes": path.stat().st_size,
            **figures,
            "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "h5py": h5py.__version__,
            },
            "seed": SEED,
        }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
