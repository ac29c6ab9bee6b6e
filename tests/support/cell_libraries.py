"""What tests make cells with: `anndata`, `pd` (pandas) and `sp` (scipy.sparse), or stand-ins.

c2t needs none of the three; its tests run without them, too.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

NAMES = ("anndata", "pandas", "scipy")
MISSING = [name for name in NAMES if find_spec(name) is None]

if MISSING:
    from stand_ins import anndata, pd, sp
else:
    import anndata
    import pandas as pd
    import scipy.sparse as sp

__all__ = ["MISSING", "anndata", "needs_anndata", "pd", "sp"]

# For tests of what these libraries themselves make of our files, or give us.
needs_anndata = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (c2t[demo])"
)
