"""Check, then time, the CUDA kernels on a GPU: `python -P benchmarks/gpu_kernels.py [--json]`.

Needs c2t[gpu]; PyTorch with CUDA is compared with where it is installed. Everything is checked
against the NumPy definition before anything is timed. `benchmarks/results/gpu_kernels.json` is the
place for the output of a run worth keeping.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from c2t.kernels.cuda.device import CudaDevice
from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.gene_embedding.cuda import DeviceCells, DeviceTables, launch_gene_embedding
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables, convert_tables

REPEATS = 50
COPY_BYTES = 1 << 30
TOLERANCE = {"float32": 1e-5, "float16": 2.0**-10, "uint16": 2.0**-7}
TARGETS = {"of_copy_bandwidth": 0.8, "times_torch": 3.0}


def main() -> None:
    """Check everything, then measure, then print."""
    device = CudaDevice()
    draw = np.random.default_rng(0)
    checks = check_embedding(device, draw)
    print(f"{checks} checks passed on {device.arch}", file=sys.stderr)
    result = {
        "machine": machine(device),
        "checks": checks,
        "embedding": [time_embedding(device, draw, width) for width in (256, 768, 1152)],
        "targets": TARGETS,
    }
    print(json.dumps(result, indent=None if "--json" in sys.argv else 1))


def make_tables(draw: np.random.Generator, vocabulary: int, width: int) -> GeneEmbeddingTables:
    """Random float32 tables with 4096 positions."""
    return GeneEmbeddingTables(
        word=draw.standard_normal((vocabulary, width), np.float32),
        position=draw.standard_normal((4096, width), np.float32),
        token_type=draw.standard_normal(width, np.float32),
        gamma=draw.standard_normal(width, np.float32),
        beta=draw.standard_normal(width, np.float32),
    )


def check_embedding(device: CudaDevice, draw: np.random.Generator) -> int:
    """Every width, storage and output; full, empty and one-gene cells; a poisoned buffer."""
    checks = 0
    lengths = np.array([61, 0, 1, 17, 60], np.int32)
    for width in (1, 7, 8, 63, 64, 256, 768, 1152):
        plain = make_tables(draw, 300, width)
        tokens = draw.integers(0, 300, (5, 61)).astype(np.int32)
        tokens[3, :17] = [0, 299] * 8 + [0]
        for storage in ("float32", "float16", "int8"):
            tables = convert_tables(plain, np.dtype(storage))
            cells = DeviceCells.upload(tokens, lengths, tables)
            on_device = DeviceTables.upload(tables)
            for dtype in ("float32", "float16", "uint16", "int8"):
                scale = 0.03 if dtype == "int8" else None
                expected = np.empty((5, 61, width), dtype)
                embed_genes_reference(tokens, lengths, tables, expected, out_scale=scale)
                out = DeviceArray.upload(np.full_like(expected, 0x2B))
                launch_gene_embedding(
                    device, cells, on_device, out.pointer, dtype=dtype, out_scale=scale
                )
                device.synchronize()
                compare(out.download(), expected, f"{width} {storage} {dtype}")
                checks += 1
    return checks


def compare(result: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Raise where the two differ by more than the dtype explains."""
    if result.dtype == np.int8:
        steps = np.abs(result.astype(int) - expected)
        right = steps.max() <= 1 and (steps > 0).mean() < 1e-3
    else:
        name = result.dtype.name
        if name == "uint16":
            result, expected = (
                (a.astype(np.uint32) << 16).view(np.float32) for a in (result, expected)
            )
        a, b = result.astype(np.float64), expected.astype(np.float64)
        right = bool((np.abs(a - b) / (1 + np.abs(b))).max() <= TOLERANCE[name])
    if not right:
        message = f"embedding differs from its definition: {what}"
        raise SystemExit(message)


def time_embedding(device: CudaDevice, draw: np.random.Generator, width: int) -> dict[str, Any]:
    """Sixteen cells of 4096 genes, float32, against a copy on the device and against PyTorch."""
    from cuda.bindings import driver

    tables = make_tables(draw, 20_275, width)
    tokens = np.stack([draw.permutation(20_275)[:4096] for _ in range(16)]).astype(np.int32)
    lengths = np.full(16, 4096, np.int32)
    cells = DeviceCells.upload(tokens, lengths, tables)
    on_device = DeviceTables.upload(tables)
    out = DeviceArray.allocate((16, 4096, width), np.float32)
    seconds = device_seconds(
        device,
        lambda: launch_gene_embedding(device, cells, on_device, out.pointer, dtype=np.float32),
    )
    source = DeviceArray.allocate((COPY_BYTES,), np.uint8)
    target = DeviceArray.allocate((COPY_BYTES,), np.uint8)
    stream = device.handle
    copy = device_seconds(
        device,
        lambda: driver.cuMemcpyDtoDAsync(target.pointer, source.pointer, COPY_BYTES, stream),
    )
    # What must move: word rows in, embeddings out. Position rows are shared by the cells (cache).
    moved = 2 * tokens.size * width * 4 + 4096 * width * 4
    bandwidth = 2 * COPY_BYTES / copy
    torch_seconds = time_torch(tables, tokens)
    return {
        "width": width,
        "seconds": seconds,
        "gb_per_s": moved / seconds / 1e9,
        "copy_gb_per_s": bandwidth / 1e9,
        "of_copy_bandwidth": moved / seconds / bandwidth,
        "times_torch": torch_seconds / seconds if torch_seconds else None,
    }


def device_seconds(device: CudaDevice, run: Callable[[], Any]) -> float:
    """Median of repeats, by events on the kernels' stream, after a warm-up."""
    from cuda.bindings import driver

    stream = device.handle
    begin, end = driver.cuEventCreate(0)[1], driver.cuEventCreate(0)[1]
    times = []
    for repeat in range(REPEATS + 5):
        driver.cuEventRecord(begin, stream)
        run()
        driver.cuEventRecord(end, stream)
        driver.cuEventSynchronize(end)
        if repeat >= 5:
            times.append(driver.cuEventElapsedTime(begin, end)[1] / 1e3)
    return float(np.median(times))


def time_torch(tables: GeneEmbeddingTables, tokens: np.ndarray) -> float | None:
    """PyTorch's eager BertEmbeddings on the same device, or None where it is not installed."""
    try:
        import torch
        from transformers.models.bert.modeling_bert import BertConfig, BertEmbeddings
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    config = BertConfig(
        vocab_size=tables.vocabulary,
        hidden_size=tables.hidden_size,
        max_position_embeddings=4096,
        num_attention_heads=1,
    )
    layer = BertEmbeddings(config).eval().cuda()
    ids = torch.from_numpy(tokens.astype(np.int64)).cuda()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    with torch.inference_mode():
        for _ in range(REPEATS + 5):
            begin.record()
            layer(ids)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(times[5:]))


def machine(device: CudaDevice) -> dict[str, Any]:
    """What the figures are of."""
    from cuda.bindings import driver
    from cuda.core import Device

    from c2t.kernels.cuda.compile import nvrtc_version

    return {
        "gpu": Device().name,
        "arch": device.arch,
        "driver": int(driver.cuDriverGetVersion()[1]),
        "nvrtc": nvrtc_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    main()
