"""The two most active hallmark gene sets of each cell, by AUCell.

One decision: the most active set is that with the highest raw AUCell score in the cell, not that
with the highest z-score across a data set. Measured on these sets, a model can learn the raw order
from a single cell, while z-scores let rare, noisy gene sets win.
"""

from pathlib import Path

import anndata
import decoupler
import numba
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags

from c2t.examples.demo.cells import LabelledSet

MIN_GENES = 5  # of a gene set that a file must have measured


def read_gene_sets(path: Path) -> pd.DataFrame:
    """Read a GMT file to the long table that decoupler takes (source, target)."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, *genes = line.split("\t")
        pairs += [(name, gene) for gene in genes]
    return pd.DataFrame(pairs, columns=["source", "target"])


def most_active(labelled: LabelledSet, gene_sets: pd.DataFrame) -> list[tuple[str, str]]:
    """The two gene sets with the highest AUCell score of each cell, most active first.

    Args:
        labelled: Cells of one file; genes are matched by symbol.
        gene_sets: What `read_gene_sets` returns.

    Returns:
        [N] pairs of names; equal scores are ordered by name.
    """
    scale = diags(10_000 / np.maximum(np.asarray(labelled.counts.sum(axis=1)).ravel(), 1))
    normal = csr_matrix(scale @ labelled.counts, dtype=np.float32)
    np.log1p(normal.data, out=normal.data)
    symbols = [s or f"column {c}" for c, s in enumerate(labelled.symbols)]
    data = anndata.AnnData(
        normal, obs=pd.DataFrame(index=labelled.cell_ids), var=pd.DataFrame(index=symbols)
    )
    data = data[:, ~data.var_names.duplicated()].copy()
    # On a busy machine, numba's threads wait for each other longer than one thread takes alone.
    numba.set_num_threads(1)
    decoupler.mt.aucell(data, gene_sets, tmin=MIN_GENES, verbose=False)
    scores = data.obsm["score_aucell"].reindex(labelled.cell_ids)
    scores = scores[sorted(scores.columns)]
    names = scores.columns.to_list()
    order = np.argsort(-scores.to_numpy(), axis=1, kind="stable")[:, :2]
    return [(names[a], names[b]) for a, b in order]
