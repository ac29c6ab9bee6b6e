"""Tables of cells and genes in every encoding of their columns."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from cell_libraries import MISSING, pd
from make_cells import CELLS, adata, write

from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.system.errors import CellFileError

COLUMNS = {
    "text": (["a", "b"] * 20, ["a", "b"]),
    "categorical": (pd.Categorical(["a", None] * 20), ["a", ""]),
    "categorical numbers": (pd.Categorical([3, 1] * 20), ["3", "1"]),
    "whole": ([1, 2] * 20, ["1", "2"]),
    "broken": ([0.5, np.nan] * 20, ["0.5", ""]),
    "truth": ([True, False] * 20, ["True", "False"]),
    "umlaut": (["Zürich", "Müller glia"] * 20, ["Zürich", "Müller glia"]),
}
if not MISSING:
    COLUMNS |= {
        "nullable whole": (pd.array([1, None] * 20, dtype="Int64"), ["1", ""]),
        "nullable truth": (pd.array([True, None] * 20, dtype="boolean"), ["True", ""]),
    }


def labelled():
    cells = adata()
    for name, (values, _) in COLUMNS.items():
        cells.obs[name] = pd.Series(values, index=cells.obs.index)
    return cells


@pytest.mark.parametrize("name", COLUMNS)
def test_column_is_the_same_from_file_and_from_memory(tmp_path, name):
    cells, expected = labelled(), COLUMNS[name][1]
    file = open_store(write(tmp_path / "cells.h5ad", cells))
    assert file.obs.column(name)[:2] == expected
    assert open_store(cells).obs.column(name)[:2] == expected
    assert len(file.obs.column(name)) == CELLS
    assert set(file.obs.columns) == {"cell_type", *COLUMNS}
    file.close()


def test_index_of_any_name(tmp_path):
    cells = adata()
    cells.obs.index.name = "barcode"
    store = open_store(write(tmp_path / "cells.h5ad", cells))
    assert store.obs.index()[:2] == ["cell0", "cell1"]
    assert store.obs.columns == ["cell_type"]
    store.close()


def replaced(path, key, values):
    write(path, adata())
    with h5py.File(path, "r+") as file:
        del file[key]
        file.create_dataset(key, data=values)
    return open_store(path)


@pytest.mark.parametrize(
    ("key", "values", "problem"),
    [
        ("obs/cell_type/codes", np.full(CELLS, 2), "has codes outside its 2 categories"),
        ("obs/cell_type/codes", np.zeros(CELLS), "has codes outside its 2 categories"),
        ("obs/cell_type/codes", np.zeros(3, int), "/obs/cell_type has 3 values for 40 rows"),
        ("obs/cell_type/categories", np.zeros((2, 2)), "has 2 dimensions, expected 1"),
        ("obs/cell_type", np.zeros(3), "/obs/cell_type has 3 values for 40 rows"),
    ],
)
def test_damaged_column_is_refused_by_its_place(tmp_path, key, values, problem):
    store = replaced(tmp_path / "cells.h5ad", key, values)
    with pytest.raises(CellFileError) as caught:
        store.obs.column("cell_type")
    assert problem in caught.value.problem
    store.close()


def test_table_that_is_no_table(tmp_path):
    with pytest.raises(CellFileError, match="/obs is not a table"):
        replaced(tmp_path / "cells.h5ad", "obs", np.zeros(CELLS))
    with pytest.raises(CellFileError, match="/obs has 2 dimensions, expected 1"):
        replaced(tmp_path / "cells.h5ad", "obs", np.zeros((2, 2)))


def test_table_too_long_to_be_one(tmp_path):
    path = write(tmp_path / "cells.h5ad", adata())
    with h5py.File(path, "r+") as file:
        del file["obs/_index"]
        # Takes no room in the file: chunks that were never written.
        file.create_dataset("obs/_index", (10**10,), "i8", chunks=(1000,))
    with pytest.raises(CellFileError, match=r"/obs/_index has 10,000,000,000 rows, at most"):
        open_store(path)


def test_table_in_another_file_is_refused(tmp_path):
    other, path = tmp_path / "other.h5ad", tmp_path / "cells.h5ad"
    write(other, adata())
    write(path, adata())
    with h5py.File(path, "r+") as file:
        del file["obs"]
        file["obs"] = h5py.ExternalLink(str(other), "obs")
    with pytest.raises(CellFileError, match="/obs is a link to another file"):
        open_store(path)
