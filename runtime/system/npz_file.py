"""Arrays from an `.npz` file of a stranger: no pickle, and never more memory than agreed.

One decision: the archive's own list of sizes is checked before anything is unpacked. It may lie,
but `zipfile` stops at the stated size, so a lie only makes a file that cannot be read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import C2TError

# What NumPy writes. Other methods are unpacked in steps whose size the file decides.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class NpzFileError(C2TError):
    """An `.npz` file that is damaged, too long, or lacks an array."""


def read_arrays(path: Path, names: Sequence[str], *, bytes_max: int) -> dict[str, NDArray[Any]]:
    """Read arrays of an `.npz` file, in the order of `names`; others in it are left alone.

    Args:
        path: The file.
        names: The arrays that are wanted; all must be there.
        bytes_max: Most bytes that the file, and what is in it unpacked, may have.

    Raises:
        NpzFileError: Missing, damaged, longer than that, without one of the arrays, or with
            Python objects in it.
    """
    try:
        return _read(path, names, bytes_max)
    except NpzFileError:
        raise
    # `zipfile`, zlib and NumPy's parser of headers raise a dozen kinds of errors on damage.
    except Exception as error:
        problem = f"{path.name} cannot be read: {str(error) or type(error).__name__}"
        raise NpzFileError(problem) from error


def _read(path: Path, names: Sequence[str], bytes_max: int) -> dict[str, NDArray[Any]]:
    # The list of members is read as a whole: it is bounded by the length of the file.
    _check_length(path, "has", path.stat().st_size, bytes_max)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        length = sum(member.file_size for member in members)
        _check_length(path, "unpacks to", length, bytes_max)
        if any(member.compress_type not in _METHODS for member in members):
            problem = f"{path.name} is packed in a way that NumPy does not write"
            raise NpzFileError(problem)
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            problem = f"{path.name} is no .npz file"
            raise NpzFileError(problem)
        missing = [name for name in names if name not in arrays.files]
        if missing:
            problem = f"{path.name} has no array named {', '.join(missing)}"
            raise NpzFileError(problem)
        found = {name: arrays[name] for name in names}
    strangers = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
    if strangers:  # NumPy gives what it does not know as bytes
        problem = f"{path.name} has no arrays in {', '.join(strangers)}"
        raise NpzFileError(problem)
    return found


def _check_length(path: Path, what: str, length: int, bytes_max: int) -> None:
    if length > bytes_max:
        problem = f"{path.name} {what} {length:,} bytes; at most {bytes_max:,} are read"
        raise NpzFileError(problem)
