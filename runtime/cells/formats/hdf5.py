"""Reads what an HDF5 file holds in bounded memory, and refuses what it keeps outside the file.

Files come from strangers, and h5py answers damage with a dozen kinds of errors. `naming` makes one
of them, which names the place.
"""

from __future__ import annotations

import re
import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.filters import check_filters
from c2t.runtime.system.errors import CellFileError

DAMAGED = "the file is damaged; write it again from its source"
# HDF5 decompresses a chunk as a whole: a bigger one would break the bound on memory.
CHUNK_BYTES_MAX = 1 << 30
# Ten times the largest atlas. A file that claims more names would fill the memory with them.
ROWS_MAX = 50_000_000

# A table's column in memory; an atlas of 20 million cells has 2 GB of names.
COLUMN_BYTES_MAX = 4 << 30
# A string's own bytes in Python, beside its text.
STRING_BYTES = 64
# One name or label. HDF5 makes room for the longest in every row.
NAME_BYTES_MAX = 1 << 20
# Read at a time of a column: their lengths are not known before, but none is longer than the file.
# Smaller portions take longer, so a file that is no bomb by its size alone is read in larger ones.
PORTION_BYTES = 1 << 29
PORTION_ROWS_MIN = 64
SMALL_FILE, PORTION_ROWS_MIN_LARGE = 1 << 28, 1024
# Links that lead to links.
LINKS_MAX = 16

# What h5py raises on damaged files, depending on which structure is damaged.
H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turn h5py's errors on a damaged file into one that names the place.

    Errors that did not arise inside h5py pass through: they are bugs of this package.

    Raises:
        CellFileError: What is inside could not be read.
    """
    try:
        yield
    except H5PY_ERRORS as error:
        if not from_h5py(error):
            raise
        problem = f"{key} cannot be read: {one_line(error)}"
        hint = "the file is damaged or uses a compression that h5py lacks; write it again with gzip"
        raise CellFileError(problem, hint=hint) from error


def from_h5py(error: BaseException) -> bool:
    """Whether an error arose inside h5py: one of the frames that it passed is h5py's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = (Path(frame.f_code.co_filename) for frame in frames)
    return any("h5py" in file.parts for file in files)


def one_line(error: BaseException) -> str:
    """What h5py says, without HDF5's line breaks."""
    return " ".join(str(error).split())


def open_hdf5(path: Path) -> Any:
    """Open a file for reading only.

    Raises:
        CellFileError: It is damaged, cut off, or in use by a program that writes it.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except H5PY_ERRORS as error:
        if not from_h5py(error):
            raise
        raise _not_opened(path, one_line(error)) from error


def _not_opened(path: Path, said: str) -> CellFileError:
    """Say why HDF5 does not open a file, which it does in many words."""
    problem, hint = f"{path} is not a readable .h5ad file", "download or write the file again"
    if "lock file" in said:
        problem = (
            f"{path} is locked: another program has it open, or its disk has no locks ({said})"
        )
        hint = "close the program that writes it (a notebook?); if there is none, run "
        hint += "`export HDF5_USE_FILE_LOCKING=FALSE` first"
    elif "open for write" in said or "consistency flags" in said:
        problem = f"{path} was never closed by the program that wrote it: {said}"
        hint = (
            f"write it again, or try `h5clear -s {shlex.quote(str(path))}` (of the HDF5 tools) on "
        )
        hint += "a copy: what was not written yet is lost"
    elif cut := re.search(r"truncated.*eof = (\d+).*stored_eof = (\d+)", said):
        problem += f": it is cut off after {int(cut[1]):,} of {int(cut[2]):,} bytes"
        hint = "download or copy it again"
    else:
        problem += f": {said}"
    return CellFileError(problem, hint=hint)


def read_dataset(dataset: Any, selection: Any, key: str) -> NDArray[Any]:
    """Read part of a data set.

    Raises:
        CellFileError: It cannot be read: truncated, damaged, or an unknown compression.
    """
    with naming(key):
        return np.asarray(dataset[selection])


def read_whole(dataset: Any, key: str) -> NDArray[Any]:
    """Read all of a one-dimensional data set of numbers.

    Raises:
        CellFileError: It is too long, or cannot be read.
    """
    with naming(key):
        item_bytes = dataset.dtype.itemsize
    _check_size(row_count(dataset, key), item_bytes, key)
    return read_dataset(dataset, slice(None), key)


def read_portions(dataset: Any, key: str, field: str | None = None) -> Iterator[NDArray[Any]]:
    """Read all of a one-dimensional data set in portions: texts or numbers.

    Texts of varying length are few bytes in the file where many rows have the same one, so their
    bytes are counted as they come.

    Args:
        dataset: From `check_dataset`.
        key: Its place in the file, for messages.
        field: Column of a table of the first versions of anndata.

    Raises:
        CellFileError: It is too large, or cannot be read.
    """
    with naming(key):
        dtype, file_bytes = dataset.dtype, dataset.file.id.get_filesize()
        rows_of = dataset
        if field is not None:
            dtype, dataset = dtype[field], dataset.fields(field)
    rows, varying = row_count(rows_of, key), dtype.kind == "O"
    if not varying and dtype.itemsize > NAME_BYTES_MAX:
        problem = f"{key} has room for {dtype.itemsize:,} bytes in each row, at most "
        problem += f"{NAME_BYTES_MAX:,} are read"
        raise CellFileError(problem, hint="write the file again with a current anndata")
    _check_size(rows, dtype.itemsize + STRING_BYTES, key)
    longest = file_bytes if varying else dtype.itemsize
    least = PORTION_ROWS_MIN if file_bytes < SMALL_FILE else PORTION_ROWS_MIN_LARGE
    step = max(PORTION_BYTES // max(longest, 1), least)
    held = 0
    for start in range(0, rows, step):
        values = read_dataset(dataset, slice(start, start + step), key)
        if varying:
            held += sum(len(value) for value in values.tolist() if isinstance(value, bytes))
            _check_size(1, held, key)
        yield values


def row_count(dataset: Any, key: str) -> int:
    """Rows of a data set.

    Raises:
        CellFileError: There are too many.
    """
    with naming(key):
        rows = len(dataset)
    if rows > ROWS_MAX:
        problem = f"{key} has {rows:,} rows, at most {ROWS_MAX:,} are read"
        raise CellFileError(problem, hint="split the file")
    return rows


def _check_size(rows: int, item_bytes: int, key: str) -> None:
    if rows * item_bytes > COLUMN_BYTES_MAX:
        problem = f"{key} takes {rows * item_bytes:,} bytes of memory, at most "
        problem += f"{COLUMN_BYTES_MAX:,} are read"
        raise CellFileError(problem, hint="split the file, or write it again with shorter names")


def checked_dataset(parent: Any, name: str, key: str, *, dimensions: int = 1) -> Any:
    """Data set `name` of a group once its kind, shape and storage are acceptable.

    Raises:
        CellFileError: See `check_dataset`; also if it is a link to another file.
    """
    return check_dataset(child(parent, name, key), key, dimensions=dimensions)


def check_dataset(item: Any, key: str, *, dimensions: int = 1) -> Any:
    """A data set once its kind, shape and storage are acceptable.

    Raises:
        CellFileError: Missing, not a data set, of other dimensions, of a type that is not expected
            in a file of cells, packed by a filter that is not installed, or stored outside.
    """
    import h5py

    if not isinstance(item, h5py.Dataset):
        problem = f"{key} is missing" if item is None else f"{key} is not a data set"
        raise CellFileError(problem, hint=DAMAGED)
    with naming(key):
        known = _is_known_type(item.id.get_type())
    if not known:
        problem = f"{key} has a type that is not expected in a file of cells"
        raise CellFileError(problem, hint=DAMAGED)
    with naming(key):
        outside = item.is_virtual or bool(item.external)
        ndim, chunks, item_bytes = item.ndim, item.chunks, item.dtype.itemsize
    if outside:
        problem = f"{key} is stored outside the file"
        raise CellFileError(problem, hint="copy the data into the file")
    if ndim != dimensions:
        problem = f"{key} has {ndim} dimensions, expected {dimensions}"
        raise CellFileError(problem, hint=DAMAGED)
    if chunks:
        size = int(np.prod(chunks, dtype=np.float64)) * item_bytes
        if size > CHUNK_BYTES_MAX:
            problem = f"{key} is stored in chunks of {size:,} bytes, at most {CHUNK_BYTES_MAX:,}"
            raise CellFileError(problem, hint="write the file again with smaller chunks")
        with naming(key):
            check_filters(item, key)
    return item


def _is_known_type(kind: Any) -> bool:
    """Whether reading a type is safe: numbers, texts, tables of them; no lists of any length."""
    import h5py

    number = kind.get_class()
    if number == h5py.h5t.COMPOUND:
        members = range(kind.get_nmembers())
        return all(_is_known_type(kind.get_member_type(member)) for member in members)
    if number == h5py.h5t.ARRAY:
        return _is_known_type(kind.get_super())
    return number in (
        *(h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING),
        *(h5py.h5t.BITFIELD, h5py.h5t.OPAQUE),
    )


def has(parent: Any, name: str, key: str) -> bool:
    """Whether this is a group with a member of this name, wherever it leads."""
    import h5py

    with naming(key):
        if not isinstance(parent, h5py.Group):
            return False
        return bool(parent.id.links.exists(name.encode()))


def child(parent: Any, name: str, key: str) -> Any:
    """A member of a group, None if there is none. Links inside the file are followed.

    Raises:
        CellFileError: It leads to another file, its name is a path, or it is damaged.
    """
    return _follow(parent, name, key, LINKS_MAX)


def _follow(parent: Any, name: str, key: str, links: int) -> Any:
    """Open one member. HDF5 itself would follow a link in the file to one that leads out of it."""
    import h5py

    if "/" in name or name in ("", ".", "..") or "\0" in name:
        problem = f"{key}: {name!r} is not the name of a member"
        raise CellFileError(problem, hint=DAMAGED)
    if not links:
        problem = f"{key} leads through more than {LINKS_MAX} links"
        raise CellFileError(problem, hint=DAMAGED)
    encoded = name.encode(errors="surrogateescape")
    with naming(key):
        if not isinstance(parent, h5py.Group) or not parent.id.links.exists(encoded):
            return None
        kind = parent.id.links.get_info(encoded).type
        if kind == h5py.h5l.TYPE_HARD:
            item = parent[name]
            where, here = (h5py.h5o.get_info(x.id).fileno for x in (item, parent))
            outside = f"file {where}" if where != here else ""
        else:
            target = parent.id.links.get_val(encoded)
            outside = "" if kind == h5py.h5l.TYPE_SOFT else target[0].decode(errors="replace")
    if outside:
        problem = f"{key} is a link to another file: {outside}"
        raise CellFileError(problem, hint="copy the data into the file")
    if kind == h5py.h5l.TYPE_HARD:
        return item
    path = target.decode(errors="surrogateescape")
    step = parent.file["/"] if path.startswith("/") else parent
    for part in path.split("/"):
        if part not in ("", "."):
            step = _follow(step, part, key, links - 1)
    return step
