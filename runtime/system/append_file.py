"""Opening a file that is appended to, while others may put something in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.portable.open_flags import BINARY, NO_LINK, NO_WAIT


def open_regular(
    path: Path, *, mode: int, error: type[C2TError], hint: str, irregular_hint: str
) -> int:
    """Open a file for reading and appending, and make it where it is not there.

    A link is not followed: it may lead anywhere. A FIFO is not waited for.

    Args:
        path: The file.
        mode: Of a file that is made.
        error: Class of the error to raise.
        hint: What helps where it cannot be opened.
        irregular_hint: What helps where it is no regular file.

    Returns:
        The descriptor.

    Raises:
        C2TError: Of the class `error`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK | NO_WAIT | BINARY
    try:
        handle = os.open(path, flags, mode)
    except OSError as failure:
        problem = f"cannot write {path}: {failure.strerror}"
        raise error(problem, hint=hint) from failure
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        problem = f"{path} is no regular file"
        raise error(problem, hint=irregular_hint)
    return handle
