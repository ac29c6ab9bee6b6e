"""Real counts under the gene names of a preset, so that a random model can be given real cells.

    python benchmarks/preset_cells.py REAL.h5ad CELLS.h5ad

A preset's genes are called ENSG00000000001, ... The most counted gene becomes the first of them,
and so on: lengths and ranks of the cells are those of the real ones, what they mean is lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import numpy as np
from scipy import sparse

GENES = 20271  # of Geneformer V2's vocabulary


def main() -> None:
    """Rename the genes and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--genes", type=int, default=GENES)
    options = parser.parse_args()
    real = anndata.read_h5ad(options.real)
    counts = sparse.csr_matrix(real.X)
    order = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")[: options.genes]
    renamed = anndata.AnnData(X=counts[:, order].astype(np.float32))
    renamed.obs_names = real.obs_names
    renamed.var_names = [f"ENSG{number:011d}" for number in range(1, len(order) + 1)]
    renamed.write_h5ad(options.cells, compression="gzip")


if __name__ == "__main__":
    main()
