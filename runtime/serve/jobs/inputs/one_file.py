"""Refuses a file that is not all of the cells: a job has one file, and looks for none beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from c2t.runtime.cells.formats.forms import Form
from c2t.runtime.cells.formats.place import find_form
from c2t.runtime.system.errors import CellFileError


def check_one_file(path: Path) -> None:
    """Refuse what cells cannot be read from, before a job is made of it.

    Args:
        path: The file, or a link to it in a folder of its own.

    Raises:
        CellFileError: It is something else, or a matrix without the names of its genes and cells.
    """
    if find_form(path) is Form.matrix_market and not zipfile.is_zipfile(path):
        problem = f"{path} is a matrix without the names of its genes and cells"
        hint = "give a zip archive with matrix.mtx.gz, features.tsv.gz and barcodes.tsv.gz"
        raise CellFileError(problem, hint=hint)
