"""The rank-value encoding of many cells, checked, then timed beside the published algorithm."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.errors import KernelError
from c2t.kernels.rank_value.cpu import rank_value_encode
from c2t.kernels.rank_value.definition import rank_value_encode_reference
from c2t.kernels.rank_value.types import RankedCells, RankGenes, RankOptions
from c2t.runtime.bench.interleave import BothTimes, both_median_ratios, both_seconds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT_SIZE = 2048  # gene tokens of the published 10M checkpoint, which has no special ones
COLUMNS = 13_714  # of the synthetic counts


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchCells:
    """Counts and a vocabulary for them.

    Args:
        source: Where the counts are from, in words.
        counts: scipy.sparse.csr_matrix [B, columns] of float32.
        genes: Every column but each twentieth is a gene; medians are random.
        options: Of `rank_value_encode`.
    """

    source: str
    counts: Any
    genes: RankGenes
    options: RankOptions


def load_bench_cells(path: Path | None, most_cells: int, seed: int) -> BenchCells:
    """The first cells of an `.h5ad` file, else random ones like blood cells of a small data set."""
    import scipy.sparse as sp

    from c2t.runtime.cells.formats.store import open_store

    draw = np.random.default_rng(seed)
    if path is not None:
        with closing(open_store(path)) as store:
            matrix = store.matrix("X")
            rows = matrix.rows(0, min(most_cells, matrix.shape[0]))
        parts = rows.data, rows.indices, rows.indptr
        counts = sp.csr_matrix(parts, shape=rows.shape, dtype=np.float32)
        source = path.stem
    else:
        likely = draw.lognormal(0, 2.6, COLUMNS)  # so that a cell has some 850 genes
        means = 2300 * likely / likely.sum()
        counts = sp.csr_matrix(draw.poisson(means, (most_cells, COLUMNS)), dtype=np.float32)
        source = "synthetic counts"
    columns = counts.shape[1]
    gene = np.arange(columns, dtype=np.int32)
    genes = RankGenes(
        column_gene=np.where(gene % 20, gene, -1).astype(np.int32),
        token=draw.permutation(np.arange(2, 2 + columns, dtype=np.int32)),
        median=draw.lognormal(0.5, 0.7, columns),
    )
    return BenchCells(
        source=source, counts=counts, genes=genes, options=RankOptions(max_tokens=INPUT_SIZE)
    )


def bench_ranking(cells: BenchCells, threads: int, rounds: int) -> dict[str, Any]:
    """Check and measure the encoding of all cells.

    Raises:
        KernelError: It differs from its definition, or from the published algorithm.
    """
    ours_now = partial(rank_value_encode, cells.counts, cells.genes, cells.options, threads=threads)
    result = ours_now()
    _check(cells, result)
    times: BothTimes = {"ours": [], "loop": []}
    for _ in range(rounds):
        times["ours"].append(both_seconds_of(ours_now))
        times["loop"].append(both_seconds_of(partial(rank_like_the_tokenizer, cells)))
    ours, count = np.array(times["ours"]), len(result.lengths)  # [rounds, 2]
    loop, cpu_loop = both_median_ratios(times["loop"], ours)
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


def rank_like_the_tokenizer(cells: BenchCells) -> list[NDArray[np.int32]]:
    """The published algorithm: scale the matrix in SciPy, then rank cell by cell with argsort."""
    import scipy.sparse as sp

    columns = np.flatnonzero(cells.genes.column_gene >= 0)
    gene = cells.genes.column_gene[columns]
    totals = np.asarray(cells.counts.sum(axis=1)).ravel()
    scale = sp.diags(10_000 / np.maximum(totals, 1)) @ cells.counts[:, columns]
    scaled = (scale @ sp.diags(1 / cells.genes.median[gene])).tocsr()
    tokens = cells.genes.token[gene]
    ranked = []
    for cell in range(scaled.shape[0]):
        # The published code takes the row twice, too.
        values, row_tokens = scaled[cell].data, tokens[scaled[cell].indices]
        ranked.append(row_tokens[np.argsort(-values)][: cells.options.max_genes])
    return ranked


def _check(cells: BenchCells, result: RankedCells) -> None:
    expected = rank_value_encode_reference(cells.counts, cells.genes, cells.options)
    for name in ("tokens", "lengths", "genes", "totals", "status"):
        if getattr(result, name).tobytes() != getattr(expected, name).tobytes():
            problem = f"the rank-value encoding differs from its definition in `{name}`"
            raise KernelError(problem, hint="report this with the file of cells")
    for cell, tokens in enumerate(rank_like_the_tokenizer(cells)):
        # The published code leaves the order of ties open, so the sets of genes are compared, and
        # only of cells whose genes all fit.
        length = int(result.lengths[cell])
        if len(tokens) != length or (
            result.genes[cell] == length and set(tokens) != set(result.tokens[cell, :length])
        ):
            problem = f"the rank-value encoding and the loop over cells differ in cell {cell}"
            raise KernelError(problem, hint="report this with the file of cells")
