"""Results inside a copy of the file of cells: columns of `obs`, a matrix in `obsm`, names in `uns`.

As `c2t.runtime.output.obs`: the file is copied byte for byte, and only what is new is added.
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.annotate.results import Results
from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.cells.formats.hdf5 import H5PY_ERRORS, child, from_h5py, one_line
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.obs import check_obs
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

    Cells that were not annotated keep an empty label and NaN.

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
    check_obs(path)
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
        added = _columns(results, length)
        for name, values in added.items():
            child(obs, name, f"/obs/{name}")  # a link would be written through
            write_element(obs, name, values)
        stated = attribute(obs, "column-order", "/obs", empty=True)
        order = [] if stated is None else [str(name) for name in np.atleast_1d(stated).tolist()]
        order += [name for name in added if name not in order]
        obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
        for group in ("obsm", "uns"):
            found = child(file, group, f"/{group}")
            if found is None:
                write_element(file, group, {})
            elif not isinstance(found, h5py.Group):
                problem = f"/{group} is no group, so nothing can be added to it"
                raise OutputError(problem, hint="write .jsonl, .csv or .parquet")
        child(file["obsm"], MATRIX, f"/obsm/{MATRIX}")
        child(file["uns"], ABOUT, f"/uns/{ABOUT}")
        matrix = np.full((length, len(results.labels.labels)), np.nan, dtype=np.float32)
        for first, shares in results.probabilities():
            matrix[results.rows[first : first + len(shares)]] = shares
        write_element(file["obsm"], MATRIX, matrix)
        names: dict[str, Any] = {"labels": np.array(results.labels.names, dtype=object)}
        if results.labels.ids:
            names["ids"] = np.array(results.labels.ids, dtype=object)
        write_element(file["uns"], ABOUT, about | names)


def _columns(results: Results, length: int) -> dict[str, NDArray[Any]]:
    label, term = np.full(length, "", dtype=object), np.full(length, "", dtype=object)
    error = np.full(length, "", dtype=object)
    probability, mass = np.full(length, np.nan), np.full(length, np.nan)
    for row, cell in zip(results.rows.tolist(), results.cells(), strict=True):
        error[row] = (cell.error or "").replace("\0", "\ufffd")
        if cell.best is not None:
            label[row] = cell.label
            term[row] = results.labels.labels[cell.best].id or ""
            probability[row], mass[row] = cell.probability, cell.mass
    values = {LABEL: label, ID: term, PROBABILITY: probability, MASS: mass, ERROR: error}
    if not results.labels.ids:
        del values[ID]
    return values
