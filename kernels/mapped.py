"""Mapped memory: pages of files that are given back, and pages that nothing was written to.

One decision: what was copied out of a mapped file must not count as this process's memory any
longer. A touch brings more than a page: Linux maps what lies around it in the page cache, too, up
to 2 MB.
"""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def empty_pages(size: int) -> mmap.mmap:
    """Zeros that take no memory before they are written to, however they are read."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)


def give_back(array: NDArray[Any]) -> None:
    """Let the pages of a mapped array go; they are read again where they are needed.

    Args:
        array: Any; one that is not mapped is left as it is.
    """
    if sys.platform == "win32" or not isinstance(array, np.memmap):
        return
    # NumPy has no public name for it. What was computed of a mapped array has none.
    mapped: mmap.mmap | None = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
