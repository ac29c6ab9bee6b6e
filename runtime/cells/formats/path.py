"""A path of cells, looked at before anything else is done: most mistakes are cheap to find."""

from __future__ import annotations

import os
from pathlib import Path

from c2t.runtime.system.errors import CellFileError


def check_cells_path(path: Path) -> None:
    """Refuse what is no file that can be read; what is in it is not looked at.

    Raises:
        CellFileError: Nothing is there, a folder, a pipe, or a file that may not be read.
    """
    if path.is_dir():
        problem = f"{path} is a folder, not an .h5ad file"
        raise CellFileError(problem, hint="give one .h5ad file; a .zarr store is not read")
    if not path.exists():
        problem = f"no such file: {path}"
        raise CellFileError(problem, hint="check the path")
    if not path.is_file():
        problem = f"{path} is a pipe or a device, which cannot be read from any place in it"
        raise CellFileError(problem, hint="save it to a file first")
    if not os.access(path, os.R_OK):
        problem = f"{path} may not be read"
        raise CellFileError(problem, hint="ask its owner for the right to, or copy it")
