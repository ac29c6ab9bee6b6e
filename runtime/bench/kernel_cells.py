"""Cells for the benchmark of the rank-value encoding, and the published algorithm beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.rank_value.types import RankGenes, RankOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.runtime.bench.kernels import KernelBenchOptions

INPUT_SIZE = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchCells:
    """Counts and a vocabulary for them.

    Args:
        source: Where the counts are from, in words.
        counts: scipy.sparse.csr_matrix [B, C] of float32.
        genes: Every column but each twentieth is a gene; medians are drawn.
        options: The published 10M checkpoint's: 2048 tokens, no special ones.
    """

    source: str
    counts: Any
    genes: RankGenes
    options: RankOptions


def load_bench_cells(options: KernelBenchOptions) -> BenchCells:
    """The cells of a file, else random ones that resemble blood cells of a small data set."""
    import scipy.sparse as sp

    draw = np.random.default_rng(options.seed)
    if options.cells is not None:
        import anndata

        cells = anndata.read_h5ad(options.cells)
        counts = sp.csr_matrix(cells.X[: options.rank_cells], dtype=np.float32)
        source = options.cells.stem
    else:
        shape = (options.rank_cells, 13_714)
        likely = draw.lognormal(0, 2.6, shape[1])  # so that a cell has some 850 genes
        means = 2300 * likely / likely.sum()
        counts = sp.csr_matrix(draw.poisson(means, shape), dtype=np.float32)
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
