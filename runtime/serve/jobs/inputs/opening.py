"""Opening a file at a place whose links were followed, so that no link leads elsewhere meanwhile.

Elsewhere than on Windows, the folders on the way are opened one in the other. Windows has no such
calls, but says where an open file really lies, and keeps what is open from being renamed.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from c2t.runtime.serve.jobs.errors import PathRefusedError
from c2t.runtime.system.portable.open_flags import BINARY, NO_LINK, NO_WAIT


def open_without_links(base: Path, place: Path, said: str) -> int:
    """Open a regular file.

    Args:
        base: A folder, without links in its path.
        place: A file in it, or in its folders.
        said: What messages call it.

    Returns:
        The descriptor. What it leads to may have been exchanged for something that is no file.

    Raises:
        PathRefusedError: It cannot be opened, is no regular file, or a link was put in its way.
    """
    try:
        if sys.platform == "win32":
            return _open_on_windows(place, said)
        return _open_from_folder_to_folder(base, place, said)
    except OSError as error:
        problem = f"{said} cannot be opened: {error.strerror}"
        raise PathRefusedError(problem, hint="check the path, and who may read it") from error


def exchanged(said: str) -> PathRefusedError:
    """The error of a file that is no longer what was judged."""
    problem = f"{said} was exchanged while it was opened"
    return PathRefusedError(problem, hint="try again when nothing writes there")


def _check_regular(status: os.stat_result, said: str) -> None:
    if not stat.S_ISREG(status.st_mode):  # opening a device may do something
        problem = f"{said} is no regular file"
        raise PathRefusedError(problem, hint="give the path of a file of cells")


def _open_from_folder_to_folder(base: Path, place: Path, said: str) -> int:
    if sys.platform == "win32":
        raise AssertionError
    *folders, name = place.relative_to(base).parts
    here = os.open(base, os.O_RDONLY | os.O_DIRECTORY | NO_LINK)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | NO_LINK, dir_fd=here)
            os.close(here)
            here = below
        _check_regular(os.stat(name, dir_fd=here, follow_symlinks=False), said)
        return os.open(name, os.O_RDONLY | NO_WAIT | NO_LINK, dir_fd=here)
    finally:
        os.close(here)


def _open_on_windows(place: Path, said: str) -> int:
    if sys.platform != "win32":
        raise AssertionError
    import ctypes
    import msvcrt

    _check_regular(place.lstat(), said)
    handle = os.open(place, os.O_RDONLY | BINARY)
    really = ctypes.create_unicode_buffer(1 << 15)
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    found = kernel32.GetFinalPathNameByHandleW(
        ctypes.c_void_p(msvcrt.get_osfhandle(handle)), really, len(really), 0
    )
    there = really.value if 0 < found < len(really) else ""
    if _plain(there) != _plain(str(place)):
        os.close(handle)
        raise exchanged(said)
    return handle


def _plain(path: str) -> str:
    """A path of Windows without the prefix of long ones, in one form of its letters."""
    share, prefix = "\\\\?\\UNC\\", "\\\\?\\"
    path = "\\\\" + path.removeprefix(share) if path.startswith(share) else path
    return os.path.normcase(path.removeprefix(prefix))
