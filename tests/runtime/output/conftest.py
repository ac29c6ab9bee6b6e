"""A small file of cells to write beside."""

from pathlib import Path

import anndata
import numpy as np
import pandas
import pytest
import scipy.sparse
from fake_descriptions import N


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(np.ones((N, 4), dtype=np.float32)),
        obs=pandas.DataFrame(
            {"label": pandas.Categorical(["a", "b"] * (N // 2)), "depth": np.arange(N)},
            index=[f"cell{i}" for i in range(N)],
        ),
    )
    adata.layers["counts"] = adata.X.copy()
    adata.uns["note"] = "kept"
    adata.write_h5ad(path)
    return path
