"""Descriptions inside a copy of the file of cells: `obs["c2t_description"]` and its neighbours.

One decision: the file is copied byte for byte and the new columns are added to the copy. Nothing
else is read, converted or held in memory, and the original is only read.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.cells.formats.attributes import attribute
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.hdf5 import H5PY_ERRORS, child, from_h5py, has, one_line, open_hdf5
from c2t.runtime.cells.formats.hdf5_cells import kind_beside_h5ad
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.cells.formats.table import H5Table
from c2t.runtime.output.categories import Categories
from c2t.runtime.output.h5ad_elements import write_element
from c2t.runtime.output.obs_extras import (
    GROUP_COLUMNS,
    EmbeddingRows,
    GroupValues,
    Watcher,
    check_obsm,
    forget_embedding,
    told,
)
from c2t.runtime.output.record import EMBEDDING_KEY, FIELD_COLUMNS, GROUPS_KEY, UNSURE_KEY, Record
from c2t.runtime.system.errors import CellFileError, OutputError

DESCRIPTION = "c2t_description"
CONFIDENCE = "c2t_confidence"
CELL_TYPE_CONFIDENCE = "c2t_cell_type_confidence"
ERROR = "c2t_error"
PREFIX = "c2t_"
SAID = tuple(f"{PREFIX}{name}" for name in FIELD_COLUMNS)
COLUMNS = (DESCRIPTION, CONFIDENCE, CELL_TYPE_CONFIDENCE, ERROR, *SAID)
# Added where a threshold for unsure cells is in force.
CELL_TYPE_PROBABILITY, UNSURE = "c2t_cell_type_probability", "c2t_unsure"
UNSURE_COLUMNS = (CELL_TYPE_PROBABILITY, UNSURE)
ABOUT = "c2t"


def check_obs(source: Path) -> None:
    """Refuse a file that columns cannot be added to, before it is described.

    A file of another kind passes here: the reader of cells says what it is.

    Raises:
        CellFileError: The file is damaged, cut off or locked.
        OutputError: It is of another format, or has the layout of anndata before 0.7, which has no
            columns to add to, or something else stands where they go.
    """
    try:
        form = find_form(source)
    except CellFileError:
        return
    if form is not Form.hdf5:
        raise _no_copy(source, form.value)
    with closing(open_hdf5(source)) as file:
        kind = kind_beside_h5ad(file, str(source))
        if kind:
            raise _no_copy(source, f"a file of {kind}")
        if has(file, "obs", "/obs"):
            _check_tables(file, source)


def _no_copy(source: Path, kind: str) -> OutputError:
    problem = f"results go into a copy of an .h5ad file, but {source} is {kind}"
    hint = "write .csv or .parquet (`-o NAME.parquet`): a row a cell, with its name; or convert "
    return OutputError(problem, hint=hint + "the cells to .h5ad first")


def _check_tables(file: Any, source: Path) -> None:
    import h5py

    obs, uns = child(file, "obs", "/obs"), child(file, "uns", "/uns")
    if not isinstance(obs, h5py.Group) or attribute(obs, "_index", "/obs") is None:
        problem = f"{source} has the layout of anndata before 0.7: its `obs` is no data frame"
        hint = "write .jsonl, .csv or .parquet, or save the file again with a newer anndata"
        raise OutputError(problem, hint=hint)
    _ = H5Table(obs, "/obs").rows
    column_order(obs)
    if not (uns is None or isinstance(uns, h5py.Group)):
        problem = f"{source} holds no group where /uns should be, so nothing can be added to it"
        raise OutputError(problem, hint="write .jsonl, .csv or .parquet")
    # Links stay as they are in the copy: what they lead to would be written, in another file.
    for parent, key, names in (
        (file, "", ("obs", "uns")),
        (obs, "/obs", (*COLUMNS, *UNSURE_COLUMNS, *GROUP_COLUMNS)),
    ):
        for name in names:
            child(parent, name, f"{key}/{name}")
    check_obsm(file)


def write_obs(source: Path, path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write a copy of the file of cells with their descriptions, and with its permissions.

    Cells without a record keep an empty description and NaN as their confidence. What a text says
    is categorical, so that it can be plotted; what it does not say is missing. Where no text says
    anything, there are no such columns.

    Args:
        source: The `.h5ad` file that was described; see `check_obs`.
        path: The file to write; it may exist.
        records: What to add.
        about: Goes into `uns["c2t"]`: strings and numbers by name.

    Raises:
        OutputError: HDF5 cannot add to this file.
    """
    mode = stat.S_IMODE(source.stat().st_mode) & 0o777 | stat.S_IWUSR
    path.chmod(mode & ~0o077)  # while it is written, its owner's alone
    shutil.copyfile(source, path)
    try:
        _add(source, path, records, about)
    except H5PY_ERRORS as error:
        if not from_h5py(error):
            raise
        problem = f"columns cannot be added to a copy of {source}: {one_line(error)}"
        hint = "write .jsonl, .csv or .parquet with the same command: the descriptions are kept"
        raise OutputError(problem, hint=hint) from error
    path.chmod(mode)


def _add(source: Path, path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        _check_tables(file, source)
        obs = file["obs"]
        length = H5Table(obs, "/obs").rows
        watchers: list[Watcher] = []
        groups = GroupValues(length) if GROUPS_KEY in about else None
        if groups is not None:
            watchers.append(groups)
        if EMBEDDING_KEY in about:
            watchers.append(EmbeddingRows(file, length, about[EMBEDDING_KEY]["size"]))
        else:
            forget_embedding(file)
        columns = _columns(
            length,
            told(records, watchers),
            stale=any(n in obs for n in SAID),
            marked=UNSURE_KEY in about,
        )
        columns |= {} if groups is None else groups.columns()
        for name, values in columns.items():
            write_element(obs, name, values)
        order = [name for name in column_order(obs) if not _is_left(obs, name, columns)]
        set_column_order(obs, [*order, *(name for name in columns if name not in order)])
        if "uns" not in file:
            write_element(file, "uns", {})
        write_element(file["uns"], ABOUT, _without_nul(about))


def _is_left(obs: Any, name: str, columns: Mapping[str, Any]) -> bool:
    """Whether a column is an earlier description's, which this one does not write; removes it."""
    if name not in (*UNSURE_COLUMNS, *GROUP_COLUMNS) or name in columns:
        return False
    if name in obs:
        del obs[name]
    return True


def column_order(obs: Any) -> list[str]:
    """Names of the columns in their order, as the file states it."""
    stated = attribute(obs, "column-order", "/obs", empty=True)
    return [] if stated is None else [str(name) for name in np.atleast_1d(stated).tolist()]


def set_column_order(obs: Any, names: list[str]) -> None:
    """State the columns in their order; readers ignore a column that is not listed."""
    import h5py

    obs.attrs["column-order"] = np.array(names, dtype=h5py.string_dtype())


def _without_nul(value: Any) -> Any:
    """The same without the one character that HDF5 texts cannot hold; it becomes U+FFFD."""
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(inner) for name, inner in value.items()}
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _columns(
    length: int, records: Iterable[Record], *, stale: bool, marked: bool
) -> dict[str, Any]:
    """The columns by name.

    Args:
        length: Rows of obs.
        records: What goes into them.
        stale: The file has columns of what texts say, of an earlier run: they are to be replaced.
        marked: A threshold for unsure cells is in force.
    """
    description = np.full(length, "", dtype=object)
    error = np.full(length, "", dtype=object)
    confidence = np.full(length, np.nan)
    cell_type_confidence = np.full(length, np.nan)
    fields = {name: Categories(length) for name in FIELD_COLUMNS}
    probability = np.full(length, np.nan)
    # What was not described has no sure answer either, so that `~obs.c2t_unsure` never keeps it.
    unsure = np.ones(length, dtype=bool)
    for record in records:
        description[record.row] = _without_nul(record.text or "")
        error[record.row] = _without_nul(record.error or "")
        if record.confidence is not None:
            confidence[record.row] = record.confidence
        if record.cell_type_confidence is not None:
            cell_type_confidence[record.row] = record.cell_type_confidence
        for name, column in fields.items():
            column.set(record.row, _without_nul(getattr(record, name)))
        if record.cell_type_probability is not None:
            probability[record.row] = record.cell_type_probability
        unsure[record.row] = record.unsure is not False
    columns: dict[str, Any] = {
        DESCRIPTION: description,
        CONFIDENCE: confidence,
        CELL_TYPE_CONFIDENCE: cell_type_confidence,
        ERROR: error,
    }
    if marked:
        columns |= {CELL_TYPE_PROBABILITY: probability, UNSURE: unsure}
    if stale or any(map(len, fields.values())):
        columns |= {f"{PREFIX}{name}": column.sorted() for name, column in fields.items()}
    return columns
