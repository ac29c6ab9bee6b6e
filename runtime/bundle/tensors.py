"""Tensors that lie in files and are never read as a whole: mapped, widened row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.mapped import give_back
from c2t.runtime.bundle.hashes import is_plain_name
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.tensor_files import region_problem

# What a manifest may call a tensor's type. Nothing else is mapped: values of type `object` would be
# taken for addresses.
BUNDLE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}

# Rows of a mapped table that are read before its pages are given back: each may be in 2 MB of them.
ROWS_AT_ONCE = 8


def region(reference: TensorReference, dtypes: Mapping[str, np.dtype[Any]]) -> tuple[int, int]:
    """Where a tensor begins and ends in its file, in bytes; an empty one if its dtype is unknown.

    Whether that lies inside the file is for `map_tensor` to say.
    """
    dtype, start = dtypes.get(reference.dtype), reference.offset
    return start, start + (0 if dtype is None else math.prod(reference.shape) * dtype.itemsize)


def map_tensor(
    folder: Path,
    reference: TensorReference,
    *,
    dtypes: Mapping[str, np.dtype[Any]],
    error: type[C2TError],
    hint: str = "",
) -> NDArray[Any]:
    """Map a tensor that lies inside a file of a folder, read-only.

    Args:
        reference: Where the tensor lies in it, its shape and dtype. All of it is checked.
        dtypes: The dtypes that it may have, by name, as NumPy stores them.
        error: Class of the error to raise.
        hint: How to mend it.

    Raises:
        C2TError: Of the class `error`: another dtype, or a region that is not inside the file.
    """
    name, shape = reference.file, reference.shape
    path = folder / name
    if reference.dtype not in dtypes:
        problem = f"is said to be {reference.dtype!r}, not {' or '.join(dtypes)}"
    elif not is_plain_name(name):
        problem = "has a name that leaves the folder"
    elif path.is_symlink() and path.resolve().parent != folder.resolve():
        problem = "is a link that leaves the folder"
    elif not path.is_file():
        problem = "is missing"
    else:
        dtype = dtypes[reference.dtype]
        problem = region_problem(path, reference.offset, shape, dtype)
        if not problem:
            return np.memmap(path, dtype=dtype, mode="r", offset=reference.offset, shape=shape)
    problem = f"the tensor of shape {list(shape)} in {name!r} {problem}"
    raise error(problem, hint=hint)


class Int8Rows:
    """A table of int8 rows that is indexed by rows only, and gives float32 rows.

    Args:
        values: [V, D] int8, may be memory-mapped.
        scale: [V] float32; row v is values[v] * scale[v].
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.shape = values.shape
        self.values = values
        self.scale = scale

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Rows [..., D] float32 of row numbers [...]."""
        rows = np.asarray(rows)
        flat = rows.reshape(-1)
        widened = np.empty((len(flat), self.shape[1]), np.float32)
        for first in range(0, len(flat), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            widened[part] = self.values[flat[part]] * self.scale[flat[part], None]
            give_back(self.values)
        return widened.reshape(*rows.shape, self.shape[1])
