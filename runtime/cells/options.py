"""Cell ids from an option of the command line: a list, or a file with one id a line."""

from __future__ import annotations

import os
from pathlib import Path

from c2t.runtime.system.errors import CellFileError

# No file name is longer, and a longer list of ids must not even be asked about as one.
NAME_BYTES_MAX = 1024


def read_ids(choice: str) -> list[str]:
    """Cell ids from an option: the lines of a file of that name if there is one, else a list.

    Args:
        choice: A path, or ids with commas between them.

    Raises:
        CellFileError: There are no ids in it.
    """
    short = len(os.fsencode(choice)) < NAME_BYTES_MAX
    is_file = short and os.path.isfile(choice)  # noqa: PTH113 - Path's raises for some
    try:
        parts = (
            Path(choice).read_text(encoding="utf-8").splitlines() if is_file else choice.split(",")
        )
    except UnicodeDecodeError as error:
        problem = f"--cells {choice}: not a text file in UTF-8"
        raise CellFileError(problem, hint="give a text file with one cell id a line") from error
    ids = [part.strip() for part in parts if part.strip()]
    if not ids:
        problem = f"no cell ids in --cells {choice!r}"
        raise CellFileError(problem, hint="give ids with commas between, or a file with one a line")
    return ids
