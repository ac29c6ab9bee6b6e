"""The gene embedding of one cell, checked, then timed beside NumPy and others.

Before each timed run the caches are filled with other data. Then a call with a few tokens brings
the code back into them. So each contestant starts with cold tables and warm code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.errors import KernelError
from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.runtime.bench.interleave import BothTimes, both_median_ratios, both_seconds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Gene tokens [1, S] to embeddings [1, S, H].
Embedder = Callable[["NDArray[np.int32]"], "NDArray[np.float32]"]
MakeEmbedder = Callable[[GeneEmbeddingTables, int], Embedder]  # of tables and a number of threads

VOCABULARY = 20_275  # of the published 104M and 316M checkpoints
POSITIONS = 4096
# Larger than any cache. It is read between the runs, for the bandwidth and to leave caches cold.
BANDWIDTH_BYTES = 256 << 20
WARMING_TOKENS = 16
TOLERANCE = 1e-5  # |difference| / (1 + |definition|)


def bench_embedding(
    length: int,
    hidden_size: int,
    *,
    threads: int,
    rounds: int,
    seed: int,
    peers: Mapping[str, MakeEmbedder],
) -> dict[str, Any]:
    """Check and measure the embedding of `length` gene tokens.

    Args:
        length: S.
        hidden_size: H.
        threads: Threads of each contestant.
        rounds: Timed runs of each.
        seed: Seed of tables and tokens.
        peers: Others than NumPy, by the name in the document.

    Raises:
        KernelError: A contestant's numbers differ from the definition.
    """
    draw = np.random.default_rng(seed)
    tables = _random_tables(draw, hidden_size)
    # Another cell each round: no row is in a cache from the round before. The last tokens of each
    # permutation are not part of the cell: they warm the code, but none of the cell's rows.
    drawn = [draw.permutation(VOCABULARY)[None].astype(np.int32) for _ in range(rounds)]
    cells = [(tokens[:, :length], tokens[:, -WARMING_TOKENS:]) for tokens in drawn]
    out = np.empty((1, length, hidden_size), np.float32)
    contestants: dict[str, Embedder] = {
        "ours": partial(_ours, tables=tables, out=out, threads=threads),
        "numpy": partial(_three_steps, tables=tables),
        **{name: make(tables, threads) for name, make in peers.items()},
    }
    _check(contestants, np.ascontiguousarray(cells[0][0]), tables)
    times = _time(contestants, cells, threads)
    return _figures(times, out.nbytes) | {"length": length, "hidden_size": hidden_size}


def _random_tables(draw: np.random.Generator, hidden_size: int) -> GeneEmbeddingTables:
    return GeneEmbeddingTables(
        word=draw.standard_normal((VOCABULARY, hidden_size), np.float32),
        position=draw.standard_normal((POSITIONS, hidden_size), np.float32),
        token_type=draw.standard_normal(hidden_size, np.float32),
        gamma=draw.standard_normal(hidden_size, np.float32),
        beta=draw.standard_normal(hidden_size, np.float32),
    )


def _ours(
    tokens: NDArray[np.int32], tables: GeneEmbeddingTables, out: NDArray[np.float32], threads: int
) -> NDArray[np.float32]:
    count = tokens.shape[1]
    lengths = np.array([count], np.int32)
    return embed_genes(tokens, lengths, tables, out[:, :count], threads=threads)


def _three_steps(tokens: NDArray[np.int32], tables: GeneEmbeddingTables) -> NDArray[np.float32]:
    """Gather, add, normalise: the plain way to write it in NumPy."""
    x = tables.word[tokens]
    x = x + tables.position[: tokens.shape[1]] + tables.token_type
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    y: NDArray[np.float32] = (x - mean) / np.sqrt(variance + np.float32(tables.epsilon))
    return y * tables.gamma + tables.beta


def _check(
    contestants: Mapping[str, Embedder], tokens: NDArray[np.int32], tables: GeneEmbeddingTables
) -> None:
    lengths = np.array([tokens.shape[1]], np.int32)
    out = np.empty((*tokens.shape, tables.hidden_size), np.float32)
    expected = embed_genes_reference(tokens, lengths, tables, out)
    for name, contestant in contestants.items():
        worst = float((np.abs(contestant(tokens) - expected) / (1 + np.abs(expected))).max())
        if not worst <= TOLERANCE:
            problem = (
                f"the embedding ({name}) differs from the definition by {worst:.1e},"
                f" tolerance {TOLERANCE:.0e}"
            )
            raise KernelError(problem, hint="choose another implementation with C2T_FORCE_ISA")


def _time(
    contestants: Mapping[str, Embedder],
    cells: list[tuple[NDArray[np.int32], NDArray[np.int32]]],
    threads: int,
) -> BothTimes:
    """Seconds of each contestant, and of reading `BANDWIDTH_BYTES` ("read"), in each round."""
    large = np.ones(BANDWIDTH_BYTES // 4, np.float32)
    times: BothTimes = {name: [] for name in (*contestants, "read")}
    for cell, few in cells:
        for name, contestant in contestants.items():
            read = both_seconds_of(partial(_read, large, threads))
            if name == "ours":
                times["read"].append(read)
            contestant(few)
            times[name].append(both_seconds_of(partial(contestant, cell)))
    return times


def _read(large: NDArray[np.float32], threads: int) -> float:
    """Read an array on all threads; NumPy releases the interpreter lock."""
    if threads == 1:
        return float(large.max())
    with ThreadPoolExecutor(threads) as pool:
        return max(float(m) for m in pool.map(np.max, np.array_split(large, 4 * threads)))


def _figures(times: BothTimes, out_bytes: int) -> dict[str, Any]:
    ours = np.array(times["ours"])  # [rounds, 2]
    moved = 3 * out_bytes  # a word row and a position row in, a row out
    seconds, cpu_seconds = (float(value) for value in np.median(ours, axis=0))
    read, cpu_read = both_median_ratios(times["read"], ours)
    read_seconds = float(np.median(times["read"], axis=0)[0])
    figures = {
        "seconds": seconds,
        "seconds_fastest": float(ours[:, 0].min()),
        "cpu_seconds": cpu_seconds,
        "gb_per_s": moved / seconds / 1e9,
        "read_gb_per_s": BANDWIDTH_BYTES / read_seconds / 1e9,
        "of_read_bandwidth": read * moved / BANDWIDTH_BYTES,
        "of_read_bandwidth_cpu": cpu_read * moved / BANDWIDTH_BYTES,
    }
    for name in times:
        if name not in ("ours", "read"):
            both = both_median_ratios(times[name], ours)
            figures |= {f"times_{name}": both[0], f"times_{name}_cpu": both[1]}
    return figures
