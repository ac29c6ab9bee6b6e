"""Benchmark of the CPU kernels: checked, then timed; rivals interleaved, medians of ratios.

Ratios are of runs of the same round, one after another: a busy machine slows both. Where it is so
busy that this process waits for a processor most of the time, only the ratios of processor time
(of all threads) still say something; they stand beside those of elapsed time. Before a timed
embedding the caches are filled with other data, then a tiny call brings back the code, for each
rival alike: the tables are cold, the interpreter is not.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.kernels.native import native_status, thread_count
from c2t.kernels.rank_value.cpu import rank_value_encode
from c2t.kernels.rank_value.definition import rank_value_encode_reference
from c2t.runtime.bench.kernel_cells import BenchCells, load_bench_cells, rank_like_the_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY = 20_275  # of the published 104M and 316M checkpoints
POSITIONS = 4096
# Larger than any cache: read between the runs, for the bandwidth, and to leave the caches cold.
BANDWIDTH_BYTES = 256 << 20
WARMING_TOKENS = 16
TOLERANCE = 1e-5

Times = dict[str, list[tuple[float, float]]]  # elapsed and processor seconds of each round


@dataclass(frozen=True, kw_only=True)
class KernelBenchOptions:
    """What is measured.

    Args:
        rounds: Repeats; medians are over these.
        threads: Of every contestant; None: one per core that this process may use.
        lengths: Tokens of the embedded cell.
        widths: Widths of the embedding.
        cells: An h5ad file of counts; None: synthetic ones.
        rank_cells: At most so many of its cells.
        seed: Of everything random.
    """

    rounds: int = 15
    threads: int | None = None
    lengths: tuple[int, ...] = (2048, 4096)
    widths: tuple[int, ...] = (256, 768, 1152)
    cells: Path | None = None
    rank_cells: int = 3000
    seed: int = 0


def run_kernel_benchmark(options: KernelBenchOptions | None = None) -> dict[str, Any]:
    """Measure both kernels.

    Returns:
        machine, implementation, embedding (one entry per length and width), encoding, targets.

    Raises:
        KernelError: If a kernel does not give what its definition gives.
    """
    options = options or KernelBenchOptions()
    threads = thread_count(options.threads)
    load_before = os.getloadavg()[0]
    embedding = [
        _bench_embedding(length, width, threads, options)
        for width in options.widths
        for length in options.lengths
    ]
    encoding = _bench_encoding(load_bench_cells(options), threads, options)
    status = native_status()
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load_before": round(load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "numpy": np.__version__,
            **_torch_version(),
        },
        "implementation": {"isa": status.isa, "reason": status.reason},
        "threads": threads,
        "rounds": options.rounds,
        "seed": options.seed,
        "embedding": embedding,
        "encoding": encoding,
        "targets": _targets(embedding, encoding),
    }


def format_kernel_benchmark(result: dict[str, Any]) -> str:
    """The result as a few lines for people."""
    machine, encoding = result["machine"], result["encoding"]
    head = (
        f"{machine['processor']}, {machine['cores']} cores,"
        f" load {machine['load_before']} before and {machine['load_after']} after;"
        f" {result['implementation']['isa']}, {result['threads']} threads,"
        f" medians of {result['rounds']} rounds"
    )
    lines = [head, "", "embedding, float32, one cell"]
    lines.append("  length  width        time    GB/s  of bandwidth  vs NumPy  vs PyTorch")
    for entry in result["embedding"]:
        torch = entry["times_torch"]
        lines.append(
            f"  {entry['length']:6} {entry['width']:6} {entry['seconds'] * 1e3:8.2f} ms"
            f" {entry['gb_per_s']:7.1f} {entry['of_read_bandwidth']:13.0%}"
            f" {entry['times_numpy']:8.1f}x" + (f" {torch:10.1f}x" if torch else "           -")
        )
    source = (
        f"encoding, {encoding['cells']} cells of {encoding['source']},"
        f" {encoding['genes_per_cell']:.0f} genes each"
    )
    speed = (
        f"  {encoding['cells_per_s']:,.0f} cells/s, {encoding['times_loop']:.0f}x"
        f" the loop over cells ({encoding['loop_cells_per_s']:,.0f} cells/s)"
    )
    lines += ["", source, speed, ""]
    for target in result["targets"]:
        word = "reached" if target["reached"] else "MISSED "
        value = f"{target['value']:.3g} ({target['cpu_value']:.3g} by processor time)"
        lines.append(f"{word}  {target['what']}: {value}, target {target['target']:g}")
    return "\n".join(lines)


def _bench_embedding(
    length: int, width: int, threads: int, options: KernelBenchOptions
) -> dict[str, Any]:
    draw = np.random.default_rng(options.seed)
    tables = GeneEmbeddingTables(
        word=draw.standard_normal((VOCABULARY, width), np.float32),
        position=draw.standard_normal((POSITIONS, width), np.float32),
        token_type=draw.standard_normal(width, np.float32),
        gamma=draw.standard_normal(width, np.float32),
        beta=draw.standard_normal(width, np.float32),
    )
    # Another cell each round: no row is in a cache from the round before. And a few tokens of no
    # part in it: a call with them brings the program, but no row of the cell, back to the caches.
    drawn = [draw.permutation(VOCABULARY)[None].astype(np.int32) for _ in range(options.rounds)]
    cells = [(tokens[:, :length], tokens[:, -WARMING_TOKENS:]) for tokens in drawn]
    out = np.empty((1, length, width), np.float32)
    large = np.ones(BANDWIDTH_BYTES // 4, np.float32)
    torch_layer = _torch_bert_embeddings(tables, threads)

    def ours_of(tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        count = tokens.shape[1]
        lengths = np.array([count], np.int32)
        return embed_genes(tokens, lengths, tables, out[:, :count], threads=threads)

    contestants: dict[str, Callable[[NDArray[np.int32]], NDArray[np.float32]]] = {
        "ours": ours_of,
        "numpy": partial(_three_steps, tables=tables),
    }
    if torch_layer is not None:
        contestants["torch"] = torch_layer
    first = np.ascontiguousarray(cells[0][0])
    lengths = np.array([length], np.int32)
    expected = embed_genes_reference(first, lengths, tables, np.empty_like(out))
    for name, contestant in contestants.items():
        _check(f"embedding ({name})", contestant(first), expected)

    times: Times = {"ours": [], "numpy": [], "torch": [], "read": []}
    for cell, few in cells:
        for name, contestant in contestants.items():
            read_now = _seconds(partial(_read, large, threads))
            if name == "ours":
                times["read"].append(read_now)
            contestant(few)
            times[name].append(_seconds(partial(contestant, cell)))
    ours = np.array(times["ours"])  # [rounds, 2]
    moved = 3 * out.nbytes  # a word row and a position row in, a row out
    seconds, cpu_seconds = (float(value) for value in np.median(ours, axis=0))
    read, cpu_read = _ratios(times["read"], ours)
    numpy, cpu_numpy = _ratios(times["numpy"], ours)
    torch, cpu_torch = _ratios(times["torch"], ours) if torch_layer else (None, None)
    return {
        "length": length,
        "width": width,
        "seconds": seconds,
        "seconds_fastest": float(ours[:, 0].min()),
        "cpu_seconds": cpu_seconds,
        "gb_per_s": moved / seconds / 1e9,
        "read_gb_per_s": large.nbytes / float(np.median(times["read"], axis=0)[0]) / 1e9,
        "of_read_bandwidth": read * moved / large.nbytes,
        "of_read_bandwidth_cpu": cpu_read * moved / large.nbytes,
        "times_numpy": numpy,
        "times_numpy_cpu": cpu_numpy,
        "times_torch": torch,
        "times_torch_cpu": cpu_torch,
    }


def _bench_encoding(cells: BenchCells, threads: int, options: KernelBenchOptions) -> dict[str, Any]:
    result = rank_value_encode(cells.counts, cells.genes, cells.options, threads=threads)
    expected = rank_value_encode_reference(cells.counts, cells.genes, cells.options)
    for name in ("tokens", "lengths", "genes", "totals", "status"):
        if getattr(result, name).tobytes() != getattr(expected, name).tobytes():
            problem = f"rank-value encoding differs from its definition in `{name}`"
            raise KernelError(problem, hint="report this with the file of cells")
    loop_tokens = rank_like_the_tokenizer(cells)
    for cell, tokens in enumerate(loop_tokens):
        # The published order of ties is unspecified: the same genes, where none were cut.
        length = int(result.lengths[cell])
        if len(tokens) != length or (
            result.genes[cell] == length and set(tokens) != set(result.tokens[cell, :length])
        ):
            problem = f"rank-value encoding and the loop over cells differ in cell {cell}"
            raise KernelError(problem, hint="report this with the file of cells")

    times: Times = {"ours": [], "loop": []}
    for _ in range(options.rounds):
        ours_now = partial(
            rank_value_encode, cells.counts, cells.genes, cells.options, threads=threads
        )
        times["ours"].append(_seconds(ours_now))
        times["loop"].append(_seconds(partial(rank_like_the_tokenizer, cells)))
    ours, count = np.array(times["ours"]), len(result.lengths)  # [rounds, 2]
    loop, cpu_loop = _ratios(times["loop"], ours)
    seconds, cpu_seconds = (float(value) for value in np.median(ours, axis=0))
    return {
        "source": cells.source,
        "cells": count,
        "genes_per_cell": float(result.genes.mean()),
        "cells_per_s": count / seconds,
        "cells_per_s_fastest": count / float(ours[:, 0].min()),
        "cells_per_cpu_second": count / cpu_seconds,
        "loop_cells_per_s": count / float(np.median(times["loop"], axis=0)[0]),
        "times_loop": loop,
        "times_loop_cpu": cpu_loop,
    }


def _targets(embedding: list[dict[str, Any]], encoding: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of the worst size, against what the kernels are to reach."""
    figures = [
        ("embedding, part of the read bandwidth", embedding, "of_read_bandwidth", 0.6),
        ("embedding, times three-step NumPy", embedding, "times_numpy", 3.0),
        ("embedding, times PyTorch's BertEmbeddings", embedding, "times_torch", 1.5),
        ("encoding, times the loop over cells", [encoding], "times_loop", 20.0),
    ]
    targets = [
        {
            "what": what,
            "target": target,
            "value": min(entry[key] for entry in entries),
            "cpu_value": min(entry[f"{key}_cpu"] for entry in entries),
        }
        for what, entries, key, target in figures
        if entries[0][key] is not None
    ]
    speed = {
        "what": "encoding, cells per second",
        "target": 5000.0,
        "value": encoding["cells_per_s"],
        "cpu_value": encoding["cells_per_cpu_second"],
    }
    return [
        target | {"reached": target["value"] >= target["target"]} for target in (*targets, speed)
    ]


def _three_steps(tokens: NDArray[np.int32], tables: GeneEmbeddingTables) -> NDArray[np.float32]:
    """Gather, add, normalise: what one writes in NumPy without a second thought. [B, S, H]."""
    x = tables.word[tokens]
    x = x + tables.position[: tokens.shape[1]] + tables.token_type
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    y: NDArray[np.float32] = (x - mean) / np.sqrt(variance + np.float32(tables.epsilon))
    return y * tables.gamma + tables.beta


def _torch_bert_embeddings(
    tables: GeneEmbeddingTables, threads: int
) -> Callable[[NDArray[np.int32]], NDArray[np.float32]] | None:
    """PyTorch's eager layer on the same tables, or None where it is not installed."""
    try:
        import torch
        from transformers.models.bert.modeling_bert import BertConfig, BertEmbeddings
    except ImportError:
        return None
    torch.set_num_threads(threads)
    config = BertConfig(
        vocab_size=tables.vocabulary,
        hidden_size=tables.hidden_size,
        max_position_embeddings=tables.positions,
        num_attention_heads=1,
        layer_norm_eps=tables.epsilon,
    )
    layer = BertEmbeddings(config).eval()
    with torch.no_grad():
        layer.word_embeddings.weight.copy_(torch.from_numpy(tables.word))
        layer.position_embeddings.weight.copy_(torch.from_numpy(tables.position))
        layer.token_type_embeddings.weight[0].copy_(torch.from_numpy(tables.token_type))
        layer.LayerNorm.weight.copy_(torch.from_numpy(tables.gamma))
        layer.LayerNorm.bias.copy_(torch.from_numpy(tables.beta))

    def run(tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            y: NDArray[np.float32] = layer(torch.from_numpy(tokens)).numpy()
        return y

    return run


def _read(large: NDArray[np.float32], threads: int) -> float:
    """Read an array on all threads; NumPy releases the interpreter lock."""
    if threads == 1:
        return float(large.max())
    with ThreadPoolExecutor(threads) as pool:
        return max(float(m) for m in pool.map(np.max, np.array_split(large, 4 * threads)))


def _seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Elapsed seconds, and processor seconds of all threads."""
    begin, cpu_begin = perf_counter(), process_time()
    run()
    return perf_counter() - begin, process_time() - cpu_begin


def _ratios(slow: list[tuple[float, float]], fast: NDArray[np.float64]) -> tuple[float, float]:
    """Medians over the rounds of slow / fast, for both kinds of seconds."""
    elapsed, cpu = np.median(np.array(slow) / np.maximum(fast, 1e-9), axis=0)
    return float(elapsed), float(cpu)


def _check(what: str, result: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    worst = float((np.abs(result - expected) / (1 + np.abs(expected))).max())
    if not worst <= TOLERANCE:
        problem = f"{what} differs from the definition by {worst:.1e}, tolerance {TOLERANCE:.0e}"
        raise KernelError(problem, hint="choose another implementation with C2T_FORCE_ISA")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _torch_version() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {}
    return {"torch": torch.__version__}


def main() -> None:
    """Print the result of a run with options of the command line."""
    import argparse

    parser = argparse.ArgumentParser(description="Measure the kernels.")
    parser.add_argument("--cells", type=Path, help="an h5ad file of counts, else synthetic ones")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    result = run_kernel_benchmark(KernelBenchOptions(cells=given.cells))
    print(json.dumps(result, indent=1) if given.json else format_kernel_benchmark(result))
