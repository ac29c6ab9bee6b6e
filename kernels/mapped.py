"""Mapped memory: pages of files that are given back, and pages that nothing was written to.

One decision: what was copied out of a mapped file must not count as this process's memory any
longer. A touch brings more than a page: Linux maps what lies around it in the page cache, too, up
to 2 MB.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray


def empty_pages(size: int, *, huge: bool = False) -> mmap.mmap:
    """Zeros that take no memory before they are written to, however they are read.

    They are the system's again as soon as nothing points at them, which memory of the C library's
    heap is not; and where that was made of huge pages, Linux fills again what is given back of it.

    Args:
        size: Bytes.
        huge: Whether pages of 2 MB are wanted, where the system has them: for what is written as a
            whole. A single number takes one of them.

    Raises:
        MemoryError: There is no memory for them.
    """
    try:
        if sys.platform == "win32":
            return mmap.mmap(-1, size)
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
    except OSError as error:
        message = f"no memory for {size:,} bytes"
        raise MemoryError(message) from error
    advice = getattr(mmap, "MADV_HUGEPAGE" if huge else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        with suppress(OSError):  # a system without huge pages
            pages.madvise(advice)
    return pages


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
