"""The gene vocabulary of the demo: which genes get a token, their medians, their other names.

One decision: everything comes from the training cells alone, by Geneformer's definition of the
median (over cells where the gene is not zero, of count / total x 10,000).
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack

from c2t.examples.demo.cells import LabelledSet
from c2t.export.checkpoint.gene_dictionaries.vocabulary import build_gene_vocabulary
from c2t.export.model.genes import EncoderVocabulary

PAD_TOKEN, MASK_TOKEN = 0, 1
FIRST_GENE_TOKEN = 2
SMALL_PANEL = 3000  # a file with fewer columns was filtered to chosen genes: keep them all


def choose_genes(sets: Sequence[LabelledSet], *, min_cells: int) -> list[str]:
    """Ensembl ids, sorted, that were seen often enough to learn something about.

    Args:
        sets: Labelled sets; their held-out cells are not looked at.
        min_cells: Training cells of one set that must have the gene (1 for small panels).
    """
    chosen: set[str] = set()
    for labelled in sets:
        seen = np.asarray((labelled.counts[~labelled.held_out] > 0).sum(axis=0)).ravel()
        least = 1 if len(labelled.gene_ids) < SMALL_PANEL else min_cells
        chosen.update(g for g, n in zip(labelled.gene_ids, seen, strict=True) if g and n >= least)
    return sorted(chosen)


def counts_of_genes(labelled: LabelledSet, genes: Sequence[str]) -> csr_matrix:
    """Counts [N, G] over chosen genes; columns of one gene are summed."""
    index = {gene: i for i, gene in enumerate(genes)}
    pairs = [(c, index[g]) for c, g in enumerate(labelled.gene_ids) if g in index]
    columns, targets = zip(*pairs, strict=True)
    shape = (len(labelled.gene_ids), len(genes))
    move = coo_matrix((np.ones(len(pairs)), (columns, targets)), shape=shape).tocsr()
    counts = csr_matrix(labelled.counts @ move)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def build_genes(
    sets: Sequence[LabelledSet],
    genes: Sequence[str],
    counts: Sequence[csr_matrix],
    gene_symbols: dict[str, str],
) -> EncoderVocabulary:
    """Medians over the training cells, tokens in order of the Ensembl id, symbols as aliases.

    Args:
        sets: Labelled sets.
        genes: Sorted Ensembl ids.
        counts: `counts_of_genes` of each set.
        gene_symbols: Ensembl id -> symbol, for symbols that no file has.
    """
    scaled = [
        diags(10_000 / labelled.totals[~labelled.held_out]) @ c[~labelled.held_out]
        for labelled, c in zip(sets, counts, strict=True)
    ]
    values = vstack(scaled).tocsc()
    medians = {
        gene: float(np.median(values.data[values.indptr[i] : values.indptr[i + 1]]))
        for i, gene in enumerate(genes)
    }
    names: dict[str, str] = {}
    for labelled in sets:
        for gene, symbol in zip(labelled.gene_ids, labelled.symbols, strict=True):
            if gene in medians and symbol and not symbol.startswith("ENSG"):
                names.setdefault(symbol, gene)
    for gene, symbol in gene_symbols.items():
        if gene in medians and not symbol.startswith("ENSG"):
            names.setdefault(symbol, gene)
    tokens = {"<pad>": PAD_TOKEN, "<mask>": MASK_TOKEN}
    tokens.update({gene: FIRST_GENE_TOKEN + i for i, gene in enumerate(genes)})
    return build_gene_vocabulary(tokens, medians, gene_names=names)
