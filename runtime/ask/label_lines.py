"""Labels to choose from, of a text file: a line each."""

from __future__ import annotations

from pathlib import Path

from c2t.runtime.system.checked_read import read_lines
from c2t.runtime.system.errors import C2TError

BYTES_MAX = 1 << 20


def read_label_lines(path: Path) -> tuple[str, ...]:
    """The lines of a file that are not empty.

    Raises:
        C2TError: The file cannot be read, or has none.
    """
    hint = "give a text file in UTF-8 with a label in each line"
    lines = read_lines(path, bytes_max=BYTES_MAX, error=C2TError, hint=hint)
    labels = tuple(stripped for line in lines if (stripped := line.strip()))
    if not labels:
        problem = f"{path} has no labels"
        raise C2TError(problem, hint=hint)
    return labels
