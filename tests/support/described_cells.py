"""Files of cells with descriptions that are known, as `c2t describe --write-obs` writes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cell_libraries import anndata, pd, sp

from c2t.runtime.output.obs import write_obs
from c2t.runtime.output.record import Record
from c2t.runtime.output.text_files import write_csv, write_jsonl

GENES = 30
ABOUT = {"bundle": "tiny", "precision": "fp32", "engine": "cpu", "generation": {"num_beams": 1}}
TYPES = ("B cell", "T cell", "monocyte")
SAID = {"tissue": "blood", "disease": "normal", "sex": "female"}
LABELS = {"B cell": "B", "T cell": "T lymph", "monocyte": "Mono"}


def caption(cell_type: str) -> str:
    """A text of the paper's template."""
    return (
        f"This sample consists of a {cell_type}, a kind of cell. It originates from the blood of a "
        "normal female."
    )


def record(row: int, cell: str, cell_type: str | None, *, error: str | None = None) -> Record:
    """A cell's description; None: the text names no type."""
    text = "It is a cell." if cell_type is None else caption(cell_type)
    failed = error is not None
    return Record(
        row=row,
        cell=cell,
        text=None if failed else text,
        confidence=None if failed else round(0.9 + 0.001 * (row % 90), 5),
        cell_type_confidence=None if failed or cell_type is None else 0.5 + 0.005 * (row % 90),
        genes_used=12,
        error=error,
        **({} if failed or cell_type is None else SAID | {"cell_type": cell_type}),
    )


def type_of(row: int) -> str:
    """Half of the cells are of the first type, a third of the second, a sixth of the third."""
    return TYPES[(0, 1, 0, 1, 0, 2)[row % 6]]


def counts(types: Sequence[str]) -> np.ndarray:
    """Counts [cells, GENES]: genes 3t, 3t+1 and 3t+2 mark type t, the more the earlier."""
    generator = np.random.default_rng(4)
    matrix = generator.poisson(1.0, (len(types), GENES)).astype(np.float32)
    for row, name in enumerate(types):
        if name in TYPES:
            first = 3 * TYPES.index(name)
            matrix[row, first : first + 3] += (30, 20, 10)
    return matrix


def cells_file(path: Path, ids: Sequence[str], types: Sequence[str]) -> Path:
    """A file of cells with own labels, not described."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        adata = anndata.AnnData(
            sp.csr_matrix(counts(types)),
            obs=pd.DataFrame(
                {"own": [LABELS.get(name, name) for name in types]}, index=list(map(str, ids))
            ),
            var=pd.DataFrame(index=[f"GENE{n}" for n in range(GENES)]),
        )
        adata.write_h5ad(path)
    return path


def add_obsm(path: Path, name: str, matrix: np.ndarray) -> Path:
    """Add a matrix to `obsm`."""
    with h5py.File(path, "r+") as file:
        group = file.require_group("obsm")
        made = group.create_dataset(name, data=matrix)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "array", "0.2.0"
    return path


def plane(cells: int) -> np.ndarray:
    """Places [cells, 2] with an island for each type."""
    generator = np.random.default_rng(2)
    at = np.array([TYPES.index(type_of(row)) for row in range(cells)])
    middle = np.array([(0, 0), (8, 1), (4, 7)])[at]
    return (middle + generator.normal(0, 1, (cells, 2))).astype(np.float32)


def described_file(
    folder: Path,
    *,
    cells: int = 60,
    ids: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    records: Sequence[Record] | None = None,
    umap: bool = True,
    about: dict[str, Any] | None = None,
) -> Path:
    """A copy of a file of cells with descriptions: `described.h5ad`, beside `cells.h5ad`."""
    ids = [f"cell{n}" for n in range(cells)] if ids is None else ids
    types = [type_of(row) for row in range(len(ids))] if types is None else types
    source = cells_file(folder / "cells.h5ad", ids, types)
    if umap:
        add_obsm(source, "X_umap", plane(len(ids)))
    made = [record(row, ids[row], types[row]) for row in range(len(ids))]
    path = folder / "described.h5ad"
    path.touch()
    write_obs(source, path, made if records is None else records, ABOUT if about is None else about)
    return path


def lines_file(path: Path, records: Sequence[Record]) -> Path:
    """The same as `.jsonl` or `.csv`."""
    write = write_jsonl if path.suffix == ".jsonl" else write_csv
    write(Path("cells.h5ad"), path, records, ABOUT)
    return path
