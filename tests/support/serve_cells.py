"""Cells of the tiny bundles as a program would send them, and what `describe` says of them."""

from __future__ import annotations

import numpy as np
from cell_libraries import anndata, pd, sp

import c2t
from c2t.runtime.serve.room.messages import CellResult, CountedCell, cell_result

GENES = [f"ENSG{number:011d}" for number in range(1, 61)]


def counts(cells: int, seed: int = 0) -> np.ndarray:
    """Counts [cells, 60] of the tiny bundles' genes; each cell has some twenty of them."""
    draw = np.random.default_rng(seed)
    values = draw.negative_binomial(2, 0.3, (cells, len(GENES)))
    return np.where(draw.random(values.shape) < 0.4, values, 0).astype(np.float32)


def counted_cells(values: np.ndarray, prefix: str = "cell") -> list[CountedCell]:
    """The same cells as maps from gene to count."""
    return [
        CountedCell(
            id=f"{prefix}{number}",
            counts={GENES[g]: float(row[g]) for g in np.flatnonzero(row)},
        )
        for number, row in enumerate(values)
    ]


def anndata_of(values: np.ndarray, prefix: str = "cell") -> anndata.AnnData:
    """The same cells as an AnnData object."""
    names = [f"{prefix}{number}" for number in range(len(values))]
    return anndata.AnnData(
        sp.csr_matrix(values), obs=pd.DataFrame(index=names), var=pd.DataFrame(index=GENES)
    )


def described(
    model: c2t.Model, values: np.ndarray, options: c2t.DescribeOptions | None = None
) -> list[CellResult]:
    """What `describe` says of these cells."""
    return [cell_result(found) for found in model.describe(anndata_of(values), options)]
