"""A small file of cells to write beside."""

from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, pd, sp
from fake_descriptions import N


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    adata = anndata.AnnData(
        sp.csr_matrix(np.ones((N, 4), dtype=np.float32)),
        obs=pd.DataFrame(
            {"label": pd.Categorical(["a", "b"] * (N // 2)), "depth": np.arange(N)},
            index=[f"cell{i}" for i in range(N)],
        ),
    )
    adata.layers["counts"] = adata.X.copy()
    adata.uns["note"] = "kept"
    adata.write_h5ad(path)
    return path
