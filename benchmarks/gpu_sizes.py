"""What c2t and PyTorch both describe in gpu_engines.py: batches, texts' tokens, cells' genes."""

from __future__ import annotations

import numpy as np

BATCHES = (32, 64, 128, 256)
GENERATED = 100  # text tokens of a cell
MEDIAN_GENES, SPREAD, MOST_GENES = 1500, 0.5, 4096


def gene_counts(cells: int) -> np.ndarray:
    """Genes of each cell: log-normal, as in files of cells; 4096 are all that a model reads."""
    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN_GENES), SPREAD, cells)
    return np.clip(drawn, 200, MOST_GENES).astype(int)
