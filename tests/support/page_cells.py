"""The cells that the page is tested with, and what `c2t describe` says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from cell_libraries import anndata, pd, sp

CELLS = 60
EVIL = "<img src=x onerror=alert(1)>"  # what a stranger may call a cell, or a group of them
GROUPS = ("left", "right", EVIL)


def write_page_cells(path: Path) -> Path:
    """Three groups of cells on a plane, one of them with an evil name; cell 3 is empty."""
    draw = np.random.default_rng(5)
    counts = draw.poisson(0.7, (CELLS, 60)).astype(np.float32)
    counts[3] = 0
    group = np.arange(CELLS) % 3
    names = [f"cell{number}" for number in range(CELLS)]
    names[7] = EVIL
    plane = np.array([[-5, 0], [5, 0], [0, 6]])[group] + draw.normal(0, 0.4, (CELLS, 2))
    table = anndata.AnnData(
        sp.csr_matrix(counts),
        obs=pd.DataFrame(
            {"side": pd.Categorical([GROUPS[k] for k in group])},
            index=names,
        ),
        var=pd.DataFrame(index=[f"ENSG{number:011d}" for number in range(1, 61)]),
        obsm={"X_umap": plane.astype(np.float32)},
    )
    table.write_h5ad(path)
    return path


def described_records(folder: Path) -> list[dict[str, Any]]:
    """The records of the lines that `c2t describe` wrote."""
    lines = (folder / "described.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines if line]
