"""Text token rows kept in int8: widened row by row when they are looked up, never as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Int8Rows:
    """Reads like a float32 array [V, D] that is indexed by rows only.

    Args:
        values: [V, D] int8, may be memory-mapped.
        scale: [V] float32; row v is values[v] * scale[v].
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.shape = values.shape
        self.values = values
        self.scale = scale

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Rows [..., D] float32 of row numbers [...]."""
        rows = np.asarray(rows)
        found: NDArray[np.float32] = self.values[rows] * self.scale[rows][..., None]
        return found
