"""Data for the random model of a preset: its weights, made instead of carried, and real cells.

    python benchmarks/preset_data.py strip BUNDLE SKELETON    # where the bundle is
    python benchmarks/preset_data.py fill SKELETON BUNDLE     # where it is wanted
    python benchmarks/preset_data.py cells REAL.h5ad CELLS.h5ad

A skeleton is a bundle, in float32 or INT8, without its `*.data` files and its
`gene_embedding.safetensors`: a few MB instead of 5 GB. A preset's genes are called ENSG00000000001,
... In CELLS.h5ad the most counted gene of the real cells has the first of these names, and so on.
The cells keep their lengths and the ranks of their genes, and lose their meaning.
"""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import save_file

GENE_TABLES = "gene_embedding.safetensors"
GENES = 20_271  # of Geneformer V2's vocabulary
SPREAD = 0.02  # standard deviation of weights, as models are initialised
INT8_SPREAD = 32  # the same in steps of their scale
BLOCK = 1 << 22  # numbers that one thread makes at a time
ROPE_BASE = 500_000.0


def strip(bundle: Path, skeleton: Path) -> None:
    """Copy all of a bundle but its weights."""
    skeleton.mkdir(parents=True)
    for file in bundle.iterdir():
        if file.suffix != ".data" and file.name != GENE_TABLES:
            shutil.copyfile(file, skeleton / file.name)


def fill(skeleton: Path, bundle: Path, seed: int = 0) -> None:
    """Copy a skeleton and write its weights; one seed gives the same weights on every machine."""
    bundle.mkdir(parents=True, exist_ok=True)
    for file in skeleton.iterdir():
        shutil.copyfile(file, bundle / file.name)
    for graph in sorted(bundle.glob("*.onnx")):
        fill_data(graph, seed)
    manifest = json.loads((bundle / "manifest.json").read_text())
    genes = manifest["gene_input"]
    draw, width = np.random.default_rng(seed), genes["width"]
    tables = {
        "word": draw.standard_normal((genes["vocabulary_size"], width), np.float32) * SPREAD,
        "position": draw.standard_normal((genes["input_size"], width), np.float32) * SPREAD,
        "token_type": draw.standard_normal(width, np.float32) * SPREAD,
        "gamma": np.ones(width, np.float32),
        "beta": np.zeros(width, np.float32),
    }
    save_file(tables, bundle / GENE_TABLES)
    for name, entry in manifest["files"].items():  # the hashes stay the skeleton's: open unverified
        entry["bytes"] = (bundle / name).stat().st_size
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def fill_data(graph: Path, seed: int) -> None:
    """Write the data file of a graph in float32 or INT8."""
    path = graph.with_name(f"{graph.name}.data")
    places = []
    for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = {entry.key: entry.value for entry in tensor.external_data}
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            places.append((tensor.name, tuple(tensor.dims), int(where["offset"]), dtype))
    if not places:  # a tiny model's weights lie in the graph
        path.write_bytes(b"")
        return
    size = max(offset + kind.itemsize * int(np.prod(shape)) for _, shape, offset, kind in places)
    data = np.memmap(path, np.uint8, "w+", shape=(size,))
    jobs = []
    for number, (name, shape, offset, dtype) in enumerate(places):
        count = int(np.prod(shape))
        place = data[offset : offset + count * dtype.itemsize].view(dtype)
        if name.endswith(".zero_point"):
            place[:] = 0
        elif name.endswith(".scale"):
            place[:] = SPREAD / INT8_SPREAD
        elif name.startswith("rotary."):
            place[:] = rotary(name, shape).reshape(-1)
        elif "norm.weight" in name:
            place[:] = 1
        elif name.endswith(".bias"):
            place[:] = 0
        else:
            jobs += [(place[at : at + BLOCK], (seed, number, at)) for at in range(0, count, BLOCK)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(fill_block, jobs))


def fill_block(job: tuple[np.ndarray, tuple[int, int, int]]) -> None:
    """Write normal numbers; the block's position is part of their seed."""
    place, seed = job
    drawn = np.random.default_rng(seed).standard_normal(len(place), np.float32)
    if place.dtype == np.int8:
        place[:] = np.clip(np.rint(drawn * INT8_SPREAD), -127, 127)
    else:
        place[:] = drawn * SPREAD


def rotary(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Cosines or sines [positions, head / 2] of a plain rotary embedding."""
    positions, half = shape
    angles = np.outer(np.arange(positions), ROPE_BASE ** (-np.arange(half) / half))
    return (np.cos if name.endswith("cos") else np.sin)(angles).astype(np.float32)


def cells(real: Path, renamed: Path) -> None:
    """Write the real cells of a file with a preset's gene names."""
    import anndata
    from scipy import sparse

    source = anndata.read_h5ad(real)
    counts = sparse.csr_matrix(source.X)
    order = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")[:GENES]
    target = anndata.AnnData(X=counts[:, order].astype(np.float32))
    target.obs_names = source.obs_names
    target.var_names = [f"ENSG{number:011d}" for number in range(1, len(order) + 1)]
    target.write_h5ad(renamed, compression="gzip")


if __name__ == "__main__":
    {"strip": strip, "fill": fill, "cells": cells}[sys.argv[1]](*map(Path, sys.argv[2:4]))
