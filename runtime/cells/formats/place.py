"""What stands at a path that should hold cells: a file, a folder, an address, nothing.

`check_cells_path` comes before all work: it opens no HDF5 file.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NoReturn

from c2t.runtime.cells.formats.archive_members import ZARR_NAMES, looked_through
from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.signature import form_of_file
from c2t.runtime.system.errors import CellFileError

# Path() makes one slash of two.
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/+(.+)", re.IGNORECASE)
MATRICES = (".mtx", ".mtx.gz")
FILES_OF_CELLS = (".h5ad", ".h5ad.gz", ".h5", ".h5mu", ".loom")
_FETCH = {"s3": "aws s3 cp {} .", "gs": "gsutil cp {} ."}


def check_cells_path(path: Path) -> None:
    """Refuse what cells cannot be read from, and say what it is.

    Raises:
        CellFileError: See `find_form`.
    """
    find_form(path)


def find_form(path: Path) -> Form:
    """The form of what stands at a path.

    Raises:
        CellFileError: Nothing is there, an address, a folder without cells, a pipe, a file of
            another kind, or one that may not be read.
    """
    if (address := _ADDRESS.fullmatch(path.as_posix())) is not None and not path.exists():
        raise _address_error(*address.groups())
    if path.is_dir():
        return _form_of_folder(path)
    if not path.exists():
        problem = f"no such file: {path}"
        raise CellFileError(problem, hint="check the path")
    if not path.is_file():
        problem = f"{path} is a pipe or a device, which cannot be read from any place in it"
        raise CellFileError(problem, hint="save it to a file first")
    if not os.access(path, os.R_OK):
        problem = f"{path} may not be read"
        raise CellFileError(problem, hint="ask its owner for the right to, or copy it")
    try:
        return form_of_file(path)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise CellFileError(problem, hint="copy it to a local disk") from error


def _address_error(scheme: str, rest: str) -> CellFileError:
    scheme = scheme.lower()
    name = rest.rpartition("/")[2].partition("?")[0]
    if scheme == "file":
        hint = f"give its path: /{rest}"
    else:
        command = _FETCH.get(scheme, "curl -L -O {}").format(shlex.quote(f"{scheme}://{rest}"))
        hint = f"download it first: `{command}`, then describe {name}"
    return CellFileError(f"{scheme}://{rest} is an address, not a file here", hint=hint)


def _form_of_folder(path: Path) -> Form:
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        names = set()
    if names & ZARR_NAMES:
        return Form.zarr
    if "manifest.json" in names:
        return _refuse_folder(
            f"{path} is a bundle's folder, not an .h5ad file",
            "give the bundle first and then the cells: `c2t describe BUNDLE CELLS.h5ad`",
        )
    inside = sorted(name for name in names if name.endswith(FILES_OF_CELLS))
    matrices = sorted(name for name in names if name.endswith(MATRICES))
    if matrices or (not inside and _holds_matrices(path)):
        return Form.matrix_market
    hint = f"give one file of cells of it: {shlex.quote(str(path / inside[0]))}" if inside else ""
    return _refuse_folder(
        f"{path} is a folder, not an .h5ad file",
        hint or "give one .h5ad file, another file of cells, or the folder of a 10x matrix",
    )


def _holds_matrices(path: Path) -> bool:
    """Whether there are matrices in the folders below."""
    names = looked_through(path).names()
    return any(name.endswith(MATRICES) for name in names)


def _refuse_folder(problem: str, hint: str) -> NoReturn:
    raise CellFileError(problem, hint=hint)
