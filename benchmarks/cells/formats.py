"""Read and encode the same generated cells as `.h5ad`, 10x `.h5` and zarr: memory and speed.

Run `python benchmarks/cells/formats.py -o benchmarks/results/cells_formats.json`. All hold the
same entries, and the gene tokens are compared by a hash. Each is read in a fresh process, so that
the peak memory reported is that of reading alone; the rounds are interleaved.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from read_cells import GENES, vocabulary, write_cells

from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

BLOCK = 1 << 24  # entries copied at a time
SPEC = GeneInput(
    input_size=4096,
    vocabulary_size=GENES + 4,
    hidden_size=768,
    layer_norm_epsilon=1e-12,
    pad_token=0,
    cls_token=2,
    eos_token=3,
)


def write_tenx(source: Path, path: Path) -> None:
    """The same entries as CellRanger writes them: gzip, int32 counts, int64 places."""
    with h5py.File(source) as cells, h5py.File(path, "w") as file:
        group, x = file.create_group("matrix"), cells["X"]
        shape = tuple(x.attrs["shape"])
        for name, kind in (("data", "i4"), ("indices", "i8")):
            made = group.create_dataset(
                name, x[name].shape, kind, chunks=(80_000,), compression="gzip", compression_opts=1
            )
            for start in range(0, len(made), BLOCK):
                made[start : start + BLOCK] = x[name][start : start + BLOCK]
        group["indptr"], group["shape"] = x["indptr"][:], np.array(shape[::-1], "i4")
        group["barcodes"] = cells["obs/_index"][:].astype("S")
        ids = cells["var/_index"][:].astype("S")
        for name, values in (("id", ids), ("name", ids)):
            group[f"features/{name}"] = values
        for name, value in (("feature_type", b"Gene Expression"), ("genome", b"GRCh38")):
            group[f"features/{name}"] = np.array([value] * shape[1])


def write_zarr(source: Path, path: Path) -> None:
    """The same entries as anndata writes them into zarr 3."""
    import zarr

    warnings.simplefilter("ignore")
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    with h5py.File(source) as cells:
        for key in ("obs", "var"):
            table = root.create_group(key)
            table.attrs.update({"encoding-type": "dataframe", "_index": "_index"})
            names = cells[f"{key}/_index"].asstr()[:].tolist()
            made = table.create_array("_index", shape=(len(names),), dtype=str)
            made[:] = np.array(names, dtype=object)
        x, group = cells["X"], root.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "shape": x.attrs["shape"].tolist()})
        for name in ("data", "indices", "indptr"):
            made = group.create_array(name, shape=x[name].shape, dtype=x[name].dtype)
            step = max(BLOCK // made.chunks[0], 1) * made.chunks[0]
            for start in range(0, len(x[name]), step):
                made[start : start + step] = x[name][start : start + step]


def resident() -> int:
    """The peak resident size of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(path: Path) -> dict[str, float | str]:
    """Read and encode all cells once."""
    genes, before, digest = vocabulary(), resident(), hashlib.sha256()
    start = time.perf_counter()
    with CellReader(path, genes, SPEC, CellOptions()) as reader:
        opened = time.perf_counter()
        for chunk in reader.chunks():
            for row in chunk.tokens:
                digest.update(np.ascontiguousarray(row).tobytes())
        done = time.perf_counter()
        cells = reader.n_cells
    return {
        "seconds_to_open": opened - start,
        "cells_per_second": cells / (done - opened),
        "peak_resident_bytes_before": before,
        "peak_resident_bytes": resident(),
        "tokens_sha256": digest.hexdigest(),
    }


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> None:
    """Make the files, read them in fresh processes, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes-per-cell", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files are made; needs their size")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")

    def apart(function, *arguments):  # in a fresh process
        with context.Pool(1) as pool:
            return pool.apply(function, arguments)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths = {name: Path(folder) / f"cells.{name}" for name in ("h5ad", "h5", "zarr")}
        apart(write_cells, paths["h5ad"], options.cells, options.genes_per_cell, "csr", False)
        apart(write_tenx, paths["h5ad"], paths["h5"])
        apart(write_zarr, paths["h5ad"], paths["zarr"])
        found = {name: [] for name in paths}
        for _ in range(options.rounds):
            for name, path in paths.items():
                found[name].append(apart(measure, path))
        sizes = {name: size_of(path) for name, path in paths.items()}
    figures = {}
    for name, rounds in found.items():
        speeds = [
            one["cells_per_second"] / other["cells_per_second"]
            for one, other in zip(rounds, found["h5ad"], strict=True)
        ]
        figures[name] = {
            "file_bytes": sizes[name],
            "peak_resident_bytes": max(one["peak_resident_bytes"] for one in rounds),
            "peak_resident_bytes_before": max(one["peak_resident_bytes_before"] for one in rounds),
            "seconds_to_open": median(one["seconds_to_open"] for one in rounds),
            "cells_per_second": median(one["cells_per_second"] for one in rounds),
            "speed_over_h5ad": median(speeds),
            "same_tokens_as_h5ad": all(
                one["tokens_sha256"] == found["h5ad"][0]["tokens_sha256"] for one in rounds
            ),
        }
    result = {
        "command": " ".join(["python", "benchmarks/cells/formats.py", *sys.argv[1:]]),
        "cells": options.cells,
        "genes_per_cell": options.genes_per_cell,
        "rounds": options.rounds,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "formats": figures,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
