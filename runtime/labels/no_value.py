"""What tables of cells write where a cell has no value."""

from __future__ import annotations

# As pandas, anndata and R's tables write a missing value as text.
NO_VALUE = frozenset({"", "nan", "NaN", "None", "<NA>"})
