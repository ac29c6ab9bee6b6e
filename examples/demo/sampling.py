"""Training batches: which cells are drawn, and how each is varied.

One decision: a cell is varied every time it is drawn (fewer genes, thinner counts, noisy ranks).
The files differ in gene panel and depth, so a model that only saw each file's own panel would learn
to recognise the file instead of the cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from c2t.examples.demo.cells import LabelledSet
from c2t.examples.demo.gene_table import FIRST_GENE_TOKEN, counts_of_genes
from c2t.export.model.genes import EncoderVocabulary

DECISION_WEIGHT = {
    "template": 0.3,
    "cell_type": 4.0,
    "definition": 0.5,
    "donor": 1.0,
    "pathway": 0.7,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPool:
    """All cells of all sets, over one vocabulary of G genes.

    Attributes:
        counts: [N, G].
        medians: [G].
        set_of: [N] index of the set.
        group_of: [N] index of the (set, label) group.
        cell_type: [N] index of the cell type, for the auxiliary loss.
        caption: [N] token ids of each caption, end token included.
        weight: [N] loss weight of each of them.
        held_out: [N].
        panels: One [G] mask of measured genes per set.
    """

    counts: csr_matrix
    medians: NDArray[np.float64]
    set_of: NDArray[np.int64]
    group_of: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    caption: list[NDArray[np.int64]]
    weight: list[NDArray[np.float32]]
    held_out: NDArray[np.bool_]
    panels: list[NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Probabilities and ranges of the variations of a training cell."""

    foreign_panel: float = 0.25  # see the cell through the genes of another file
    random_panel: float = 0.25  # or through a random half to nine tenths of its genes
    thinning: float = 0.4  # keep each count with a chance of 0.4 to 1
    rank_noise: float = 0.15  # standard deviation, at most, of the logarithm of a value
    fewest_genes: int = 40  # a variation that leaves fewer is not used


def rank_tokens(
    gene: NDArray[np.int64], value: NDArray[np.float64], *, longest: int
) -> NDArray[np.int64]:
    """Gene tokens, highest value first; equal values by the smaller token."""
    return gene[np.lexsort((gene, -value))[:longest]] + FIRST_GENE_TOKEN


def cell_tokens(pool: CellPool, cell: int, *, longest: int) -> NDArray[np.int64]:
    """The cell as it is, for evaluation."""
    begin, end = pool.counts.indptr[cell : cell + 2]
    gene = pool.counts.indices[begin:end].astype(np.int64)
    return rank_tokens(gene, pool.counts.data[begin:end] / pool.medians[gene], longest=longest)


def varied_cell_tokens(
    pool: CellPool, cell: int, how: Augmentation, rng: np.random.Generator, *, longest: int
) -> NDArray[np.int64]:
    """The cell through another panel, with thinner counts and noisy ranks."""
    begin, end = pool.counts.indptr[cell : cell + 2]
    gene = pool.counts.indices[begin:end].astype(np.int64)
    count = pool.counts.data[begin:end]
    kept = np.ones(len(gene), dtype=bool)
    draw = rng.random()
    if draw < how.foreign_panel:
        kept = pool.panels[rng.integers(len(pool.panels))][gene]
    elif draw < how.foreign_panel + how.random_panel:
        kept = rng.random(len(gene)) < rng.uniform(0.5, 0.9)
    if rng.random() < how.thinning:
        count = rng.binomial(np.rint(count).astype(np.int64), rng.uniform(0.4, 1.0))
        kept = kept & (count > 0)
    if kept.sum() >= min(how.fewest_genes, len(gene)):
        gene, count = gene[kept], count[kept]
    else:
        count = pool.counts.data[begin:end]
    noise = rng.standard_normal(len(gene)) * rng.uniform(0, how.rank_noise)
    return rank_tokens(gene, count / pool.medians[gene] * np.exp(noise), longest=longest)


def sampling_probability(
    pool: CellPool, share: Sequence[float], *, balance: float
) -> NDArray[np.float64]:
    """Chance [N] of each training cell to be drawn; 0 for held-out cells.

    Args:
        pool: The cells.
        share: Share of each set.
        balance: A group of n cells gets a share of its set proportional to n ** balance: 1 leaves
            frequencies as they are, 0 makes all groups equal.
    """
    chance = np.zeros(len(pool.set_of))
    train = ~pool.held_out
    for index, part in enumerate(share):
        groups, sizes = np.unique(pool.group_of[train & (pool.set_of == index)], return_counts=True)
        parts = sizes**balance
        for group, size, own in zip(groups, sizes, parts / parts.sum(), strict=True):
            chance[train & (pool.group_of == group)] = part * own / size
    return chance / chance.sum()


def balanced_draw(
    chance: NDArray[np.float64], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw cells with replacement by systematic sampling: less noise than independent draws."""
    order = rng.permutation(len(chance))
    edges = np.cumsum(chance[order])
    points = (np.arange(number) + rng.random()) / number * edges[-1]
    return rng.permutation(order[np.minimum(np.searchsorted(edges, points), len(order) - 1)])


def permuted_pool(
    pool: CellPool, sets: Sequence[LabelledSet], genes: EncoderVocabulary, *, seed: int
) -> CellPool:
    """The same cells, the counts of each permuted over the genes of its own file: a control."""
    rng = np.random.default_rng(seed)
    names = genes.ensembl_id.astype(str).tolist()
    permuted = [counts_of_genes(permuted_set(labelled, rng), names) for labelled in sets]
    return replace(pool, counts=vstack(permuted).tocsr())


def permuted_set(labelled: LabelledSet, rng: np.random.Generator) -> LabelledSet:
    """The same cells, the counts of each at random genes of the file."""
    counts = labelled.counts
    columns = [rng.choice(counts.shape[1], size=n, replace=False) for n in np.diff(counts.indptr)]
    moved = csr_matrix((counts.data, np.concatenate(columns), counts.indptr), counts.shape)
    return replace(labelled, counts=moved)
