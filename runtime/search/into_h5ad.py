"""What is added to a copy of a file of cells: columns of `obs`, matrices of `obsm`, facts in `uns`.

As `c2t.runtime.output.obs`: the file is copied byte for byte, and only what is new is added.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.hdf5 import H5PY_ERRORS, child, from_h5py, one_line
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.obs import check_obs, column_order, set_column_order
from c2t.runtime.system.errors import OutputError

HINT = "write a table instead: .csv or .parquet"


@dataclass(frozen=True, kw_only=True, eq=False)
class Addition:
    """What is added.

    Attributes:
        rows: [B] positions in the file of the cells that the arrays are of.
        columns: Columns of `obs` by name, [B] numbers.
        errors: Name of a column of `obs` and its texts [B], "" where there is none; None: no such.
        matrices: Matrices of `obsm` by name, [B, N] float32.
        about: Name of an entry of `uns`, and its contents.
        left: What the names of columns begin with that an earlier run left: they are removed.
    """

    rows: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    errors: tuple[str, list[str]] | None = None
    matrices: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    about: tuple[str, dict[str, Any]]
    left: str = ""


def write_copy(source: Path, path: Path, addition: Addition) -> None:
    """Write a copy of a file of cells with something added, and with its permissions.

    Cells that are not among the addition's rows have NaN.

    Args:
        source: The `.h5ad` file.
        path: The file to write; it may exist.
        addition: What to add.

    Raises:
        OutputError: HDF5 cannot add to this file.
    """
    mode = stat.S_IMODE(source.stat().st_mode) & 0o777 | stat.S_IWUSR
    path.chmod(mode & ~0o077)  # while it is written, its owner's alone
    shutil.copyfile(source, path)
    check_obs(source)
    try:
        _add(path, addition)
    except H5PY_ERRORS as error:
        if not from_h5py(error):
            raise
        problem = f"nothing can be added to a copy of {source}: {one_line(error)}"
        raise OutputError(problem, hint=HINT) from error
    path.chmod(mode)


def _add(path: Path, addition: Addition) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        length = H5Table(obs, "/obs").rows
        order = column_order(obs)
        new: dict[str, Any] = {}
        for name, values in addition.columns.items():
            new[name] = np.full(length, np.nan)
            new[name][addition.rows] = values
        if addition.errors is not None:
            name, texts = addition.errors
            new[name] = np.full(length, "", dtype=object)
            new[name][addition.rows] = [text.replace("\0", "\ufffd") for text in texts]
        for name in order:
            if addition.left and name.startswith(addition.left) and name not in new:
                child(obs, name, f"/obs/{name}")
                del obs[name]
        order = [name for name in order if name in obs]
        for name, values in new.items():
            child(obs, name, f"/obs/{name}")  # a link would be written through
            write_element(obs, name, values)
        set_column_order(obs, [*order, *(name for name in new if name not in order)])
        for name, matrix in addition.matrices.items():
            whole = np.full((length, matrix.shape[1]), np.nan, dtype=np.float32)
            whole[addition.rows] = matrix
            write_element(_group(file, "obsm", name), name, whole)
        name, contents = addition.about
        write_element(_group(file, "uns", name), name, contents)


def _group(file: Any, group: str, name: str) -> Any:
    """The group for an element, made if it is not there; neither is a link.

    Raises:
        OutputError: It is no group.
    """
    import h5py

    found = child(file, group, f"/{group}")
    if found is None:
        write_element(file, group, {})
    elif not isinstance(found, h5py.Group):
        problem = f"/{group} is no group, so nothing can be added to it"
        raise OutputError(problem, hint=HINT)
    child(file[group], name, f"/{group}/{name}")
    return file[group]
