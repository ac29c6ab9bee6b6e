"""When two labels are the same: the paper's rule."""

from __future__ import annotations

import re


def normalise_label(label: str) -> str:
    """Lower case, spaces folded, a trailing "cell" or "cells" dropped."""
    folded = " ".join(label.lower().split())
    return re.sub(r"\s*\bcells?$", "", folded)
