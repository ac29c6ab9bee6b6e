"""Tensors inside files: how NumPy stores their dtypes, and whether one lies inside its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# How NumPy stores what graphs and manifests call by these names; it has no bfloat16.
STORAGE: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int8": np.dtype(np.int8),
}


def region_problem(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> str:
    """Why a row-major tensor does not lie inside a file; "" if it does.

    Args:
        path: The file.
        offset: Bytes from its start.
        shape: The tensor's; no dimension may be 0.
        dtype: Of its elements.
    """
    if offset < 0 or min(shape, default=0) <= 0:
        return "has a negative offset or an empty shape"
    # math.prod: a shape that overflows 64 bits must not look small.
    end, length = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
    return f"ends at byte {end:,}, past the file's end, {length:,}" if end > length else ""
