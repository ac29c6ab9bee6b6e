"""Reads what an HDF5 file holds, and refuses what it keeps outside the file.

Files come from strangers, and h5py answers damage with a dozen kinds of errors. `naming` makes one
of them, which names the place.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import CellFileError

# HDF5 decompresses a chunk as a whole: a bigger one would break the bound on memory.
CHUNK_BYTES_MAX = 1 << 30
# Ten times the largest atlas. A file that claims more names would fill the memory with them.
ROWS_MAX = 50_000_000

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


def read_dataset(dataset: Any, selection: Any, key: str) -> NDArray[Any]:
    """Read part of a data set.

    Raises:
        CellFileError: It cannot be read: truncated, damaged, or an unknown compression.
    """
    with naming(key):
        return np.asarray(dataset[selection])


def read_whole(dataset: Any, key: str) -> NDArray[Any]:
    """Read all of a one-dimensional data set of bounded length.

    Raises:
        CellFileError: It is too long, or cannot be read.
    """
    with naming(key):
        rows = len(dataset)
    if rows > ROWS_MAX:
        problem = f"{key} has {rows:,} rows, at most {ROWS_MAX:,} are read"
        raise CellFileError(problem, hint="split the file")
    return read_dataset(dataset, slice(None), key)


def checked_dataset(parent: Any, name: str, key: str, *, dimensions: int = 1) -> Any:
    """Data set `name` of a group once its kind, shape and storage are acceptable.

    Raises:
        CellFileError: Missing, not a data set, of other dimensions, or stored outside the file.
    """
    return check_dataset(child(parent, name, key), key, dimensions=dimensions)


def check_dataset(item: Any, key: str, *, dimensions: int = 1) -> Any:
    """A data set once its kind, shape and storage are acceptable.

    Raises:
        CellFileError: Missing, not a data set, of other dimensions, or stored outside the file.
    """
    import h5py

    hint = "the file is damaged; write it again from its source"
    if not isinstance(item, h5py.Dataset):
        problem = f"{key} is missing" if item is None else f"{key} is not a data set"
        raise CellFileError(problem, hint=hint)
    with naming(key):
        outside = item.is_virtual or bool(item.external)
        ndim, chunks, item_bytes = item.ndim, item.chunks, item.dtype.itemsize
    if outside:
        problem = f"{key} is stored outside the file"
        raise CellFileError(problem, hint="copy the data into the file")
    if ndim != dimensions:
        problem = f"{key} has {ndim} dimensions, expected {dimensions}"
        raise CellFileError(problem, hint=hint)
    if chunks:
        size = int(np.prod(chunks, dtype=np.float64)) * item_bytes
        if size > CHUNK_BYTES_MAX:
            problem = f"{key} is stored in chunks of {size:,} bytes, at most {CHUNK_BYTES_MAX:,}"
            raise CellFileError(problem, hint="write the file again with smaller chunks")
    return item


def child(parent: Any, name: str, key: str) -> Any:
    """A member of a group, None if there is none.

    Raises:
        CellFileError: It is a link to another file, or damaged.
    """
    import h5py

    with naming(key):
        link, item = parent.get(name, getlink=True), None
        if not isinstance(link, h5py.ExternalLink):
            item = parent.get(name)
    if isinstance(link, h5py.ExternalLink):
        problem = f"{key} is a link to another file: {link.filename}"
        raise CellFileError(problem, hint="copy the data into the file")
    return item
