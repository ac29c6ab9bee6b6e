"""Flags of `os.open` that not every system has; 0 where there is none.

Descriptors that Python opens are never inherited, so `O_CLOEXEC` is needed nowhere.
"""

from __future__ import annotations

import os

# Windows: without it, line feeds become carriage returns and line feeds.
BINARY: int = getattr(os, "O_BINARY", 0)
# A link in the last part of a path is an error. Windows makes links for administrators only.
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
# A FIFO without a writer is not waited for. Windows has none among its files.
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
