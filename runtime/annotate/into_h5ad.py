"""Results inside a copy of the file of cells: columns of `obs`, a matrix in `obsm`, names in `uns`.

As `c2t.runtime.output.obs`: the file is copied byte for byte, and only what is new is added.
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.annotate.results import Results
from c2t.runtime.cells.formats.hdf5 import H5PY_ERRORS, child, from_h5py, one_line
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.output.categories import Categories
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.obs import check_obs, column_order, set_column_order
from c2t.runtime.system.errors import OutputError

LABEL = "c2t_label"
ID = "c2t_label_id"
PROBABILITY = "c2t_label_probability"
MASS = "c2t_label_mass"
ERROR = "c2t_label_error"
MATRIX = "c2t_label_probabilities"
ABOUT = "c2t_labels"


def write_h5ad(source: Path, path: Path, results: Results, about: dict[str, Any]) -> None:
    """Write a copy of the file of cells with the results, and with its permissions.

    Cells that were not annotated have no label, and NaN as their probabilities.

    Args:
        source: The `.h5ad` file.
        path: The file to write; it may exist.
        results: What to add.
        about: Goes into `uns["c2t_labels"]`, with the names of the matrix's columns.

    Raises:
        OutputError: HDF5 cannot add to this file.
    """
    mode = stat.S_IMODE(source.stat().st_mode) & 0o777 | stat.S_IWUSR
    path.chmod(mode & ~0o077)  # while it is written, its owner's alone
    shutil.copyfile(source, path)
    check_obs(source)
    try:
        _add(path, results, about)
    except H5PY_ERRORS as error:
        if not from_h5py(error):
            raise
        problem = f"labels cannot be added to a copy of {source}: {one_line(error)}"
        raise OutputError(problem, hint="write .jsonl, .csv or .parquet") from error
    path.chmod(mode)


def _add(path: Path, results: Results, about: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        length = H5Table(obs, "/obs").rows
        added = _columns(results, length, with_ids=results.labels.ids is not None or ID in obs)
        for name, values in added.items():
            child(obs, name, f"/obs/{name}")  # a link would be written through
            write_element(obs, name, values)
        order = column_order(obs)
        set_column_order(obs, [*order, *(name for name in added if name not in order)])
        for group, name in (("obsm", MATRIX), ("uns", ABOUT)):
            found = child(file, group, f"/{group}")
            if found is None:
                write_element(file, group, {})
            elif not isinstance(found, h5py.Group):
                problem = f"/{group} is no group, so nothing can be added to it"
                raise OutputError(problem, hint="write .jsonl, .csv or .parquet")
            child(file[group], name, f"/{group}/{name}")
        matrix = np.full((length, len(results.labels.labels)), np.nan, dtype=np.float32)
        for first, shares in results.probabilities():
            matrix[results.rows[first : first + len(shares)]] = shares
        write_element(file["obsm"], MATRIX, matrix)
        names: dict[str, Any] = {"labels": np.array(results.labels.names, dtype=object)}
        if results.labels.ids:
            names["ids"] = np.array(results.labels.ids, dtype=object)
        write_element(file["uns"], ABOUT, about | names)


def _columns(results: Results, length: int, *, with_ids: bool) -> dict[str, Any]:
    """The columns by name; labels are categorical, so that they can be plotted."""
    label, term = Categories(length), Categories(length)
    error = np.full(length, "", dtype=object)
    probability, mass = np.full(length, np.nan), np.full(length, np.nan)
    for row, cell in zip(results.rows.tolist(), results.cells(), strict=True):
        error[row] = (cell.error or "").replace("\0", "\ufffd")
        if cell.best is not None:
            label.set(row, cell.label)
            term.set(row, results.labels.labels[cell.best].id)
            probability[row], mass[row] = cell.probability, cell.mass
    columns: dict[str, Any] = {LABEL: label.sorted()}
    if with_ids:
        columns[ID] = term.sorted()
    return columns | {PROBABILITY: probability, MASS: mass, ERROR: error}
