"""No output takes the place of the cells that it is made from, whatever its name and --force say.

One decision: files are compared, not names, so a link to the cells is the cells, too; and of a
folder or a matrix, each file that the cells are read from.
"""

from __future__ import annotations

import os
from pathlib import Path

from c2t.runtime.cells.formats.source_files import source_files
from c2t.runtime.system.errors import CellFileError, OutputError


def check_not_cells(target: Path, cells: Path) -> None:
    """Refuse an output that is the file of cells, or one of the files they are read from.

    Args:
        target: The file to be written; it need not be there.
        cells: The file or folder of cells; one that is not there is for others to refuse.

    Raises:
        OutputError: It is.
    """
    try:
        status = target.stat()
    except (OSError, ValueError):
        return
    if _is(cells, status):
        problem = f"{target} is the file of cells itself, which stays as it is"
        raise OutputError(problem, hint="choose another name")
    try:
        files = source_files(cells)
    except (OSError, CellFileError):
        return
    if any(_is(file, status) for file in files):
        problem = f"{target} is one of the files of the cells {cells}, which stay as they are"
        raise OutputError(problem, hint="choose another name")


def _is(file: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), status)
    except (OSError, ValueError):
        return False
