"""The stand-ins for anndata, pandas and SciPy in tests are like what they stand in for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cell_libraries
import h5py
import numpy as np
import pytest
import stand_ins
from cell_libraries import needs_anndata
from make_cells import IDS, SYMBOLS, counts, read, tokens, z_scores

pytestmark = needs_anndata
HOLES = ["a", None] * 20


def cells_of(library: Any, form: str) -> Any:
    """Cells made by the libraries or by the stand-ins, in the same words."""
    matrix = {"dense": np.asarray, "csr": library.sp.csr_matrix, "csc": library.sp.csc_matrix}[form]
    names = [f"cell{number}" for number in range(40)]
    labels = library.pd.Categorical(HOLES)
    obs = library.pd.DataFrame({"label": labels, "depth": range(40)}, index=names)
    var = library.pd.DataFrame({"symbol": SYMBOLS, "share": np.linspace(0, 1, 80)}, index=IDS)
    layers, uns = {"counts": matrix(counts())}, {"organism": "Homo sapiens", "log1p": {}}
    cells = library.anndata.AnnData(X=z_scores(counts()), obs=obs, var=var, layers=layers, uns=uns)
    cells.raw = library.anndata.AnnData(X=matrix(np.log1p(counts())), obs=obs, var=var)
    return cells


def contents(path: Path) -> dict[str, Any]:
    """Every element of a file with its attributes and values."""
    found: dict[str, Any] = {}

    def look(name: str, element: Any) -> None:
        attributes = {key: np.asarray(value).tolist() for key, value in element.attrs.items()}
        values = None if isinstance(element, h5py.Group) else element[()]
        found[name] = (attributes, np.asarray(values).tolist())

    with h5py.File(path) as file:
        file.visititems(look)
    return found


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_files_and_objects_are_like_those_of_the_libraries(form: str, tmp_path: Path) -> None:
    real, ours = cells_of(cell_libraries, form), cells_of(stand_ins, form)
    paths = tmp_path / "real.h5ad", tmp_path / "ours.h5ad"
    for cells, path in zip((real, ours), paths, strict=True):
        cells.write_h5ad(path)
    written, expected = contents(paths[1]), contents(paths[0])
    assert written == {name: expected[name] for name in written}
    assert {
        name for name in set(expected) - set(written) if not name.startswith("raw/varm")
    } == set()
    assert tokens(read(ours)) == tokens(read(real)) == tokens(read(paths[1]))
    assert tokens(read(ours[3:9])) == tokens(read(real[3:9]))
    assert read(ours).obs_column("label") == read(real).obs_column("label")
