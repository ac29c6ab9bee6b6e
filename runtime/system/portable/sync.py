"""What was written, on the disk: a power cut then undoes nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from c2t.runtime.system.portable.open_flags import BINARY


def sync_path(path: Path) -> None:
    """Flush a file, or a folder's list of files, to the disk.

    Windows flushes a file only through a handle that may write, and has no call for a folder: NTFS
    keeps a journal of renames, so after a power cut a folder is as before the rename or after it.

    Raises:
        OSError: A file cannot be flushed.
    """
    is_folder = path.is_dir()
    if sys.platform == "win32" and is_folder:
        return
    handle = os.open(path, (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | BINARY)
    try:
        os.fsync(handle)
    except OSError:
        # Some network file systems refuse to sync folders; a rename itself is still atomic.
        if not is_folder:
            raise
    finally:
        os.close(handle)
