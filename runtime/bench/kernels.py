"""The benchmark of the CPU kernels: what `c2t bench kernels` measures, as one document.

Ratios compare runs of the same round, one after another: a busy machine slows both. On a very busy
machine a process mostly waits for a processor. Then only the ratios of processor time (of all
threads) mean something, so they stand beside those of elapsed time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.kernels.native import native_status, thread_count
from c2t.runtime.bench.kernel_embedding import MakeEmbedder, bench_embedding
from c2t.runtime.bench.kernel_ranking import bench_ranking, load_bench_cells
from c2t.runtime.bench.record import load, record


@dataclass(frozen=True, kw_only=True)
class KernelBenchOptions:
    """What is measured, and how often.

    Args:
        rounds: Timed runs of each contestant.
        threads: Threads of each contestant; None: one per core that this process may use.
        lengths: Gene tokens of the embedded cells.
        hidden_sizes: Sizes of the embedding.
        cells: An `.h5ad` file of counts; None: synthetic counts.
        rank_cells: Most cells to read from it, or cells to make.
        seed: Seed of all random data.
    """

    rounds: int = 15
    threads: int | None = None
    lengths: tuple[int, ...] = (2048, 4096)
    hidden_sizes: tuple[int, ...] = (256, 768, 1152)
    cells: Path | None = None
    rank_cells: int = 3000
    seed: int = 0


def bench_kernels(
    options: KernelBenchOptions, peers: Mapping[str, MakeEmbedder] | None = None
) -> dict[str, Any]:
    """Check and measure both kernels.

    Args:
        options: What, and how often.
        peers: Other implementations of the gene embedding, by the name in the document: "torch".

    Returns:
        A JSON document: a record, implementation, embedding (one entry per length and hidden size),
        encoding, targets.

    Raises:
        KernelError: A contestant's numbers differ from the kernel's definition.
    """
    threads = thread_count(options.threads)
    document = record("kernels", threads=threads, seed=options.seed)
    status = native_status()
    document["implementation"] = {"isa": status.isa, "reason": status.reason}
    document["rounds"] = options.rounds
    document["embedding"] = embedding = [
        bench_embedding(
            length,
            hidden_size,
            threads=threads,
            rounds=options.rounds,
            seed=options.seed,
            peers=peers or {},
        )
        for hidden_size in options.hidden_sizes
        for length in options.lengths
    ]
    cells = load_bench_cells(options.cells, options.rank_cells, options.seed)
    document["encoding"] = encoding = bench_ranking(cells, threads, options.rounds)
    document["targets"] = _targets(embedding, encoding)
    document["load_after"] = load()
    return document


def kernels_text(document: dict[str, Any]) -> str:
    """The document as a few lines for people."""
    machine, encoding = document["machine"], document["encoding"]
    lines = [
        (
            f"{machine['cpu']}, {machine['cores']} cores,"
            f" load {document['load_before']} before and {document['load_after']} after;"
            f" {document['implementation']['isa']}, {document['threads']} threads,"
            f" medians of {document['rounds']} rounds"
        ),
        "",
        "embedding, float32, one cell",
        "  length hidden        time    GB/s  of bandwidth  vs NumPy  vs PyTorch",
    ]
    for entry in document["embedding"]:
        torch = entry.get("times_torch")
        lines.append(
            f"  {entry['length']:6} {entry['hidden_size']:6} {entry['seconds'] * 1e3:8.2f} ms"
            f" {entry['gb_per_s']:7.1f} {entry['of_read_bandwidth']:13.0%}"
            f" {entry['times_numpy']:8.1f}x" + (f" {torch:10.1f}x" if torch else "           -")
        )
    lines += [
        "",
        (
            f"encoding, {encoding['cells']} cells of {encoding['source']},"
            f" {encoding['genes_per_cell']:.0f} genes each"
        ),
        (
            f"  {encoding['cells_per_s']:,.0f} cells/s, {encoding['times_loop']:.0f}x"
            f" the loop over cells ({encoding['loop_cells_per_s']:,.0f} cells/s)"
        ),
        "",
    ]
    for target in document["targets"]:
        word = "reached" if target["reached"] else "MISSED "
        value = f"{target['value']:.3g} ({target['cpu_value']:.3g} by processor time)"
        lines.append(f"{word}  {target['what']}: {value}, target {target['target']:g}")
    return "\n".join(lines) + "\n"


def _targets(embedding: list[dict[str, Any]], encoding: dict[str, Any]) -> list[dict[str, Any]]:
    """The worst figures of all sizes, and the least that they must reach."""
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
        if key in entries[0]
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
