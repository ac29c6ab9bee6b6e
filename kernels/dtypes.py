"""Number types of the kernels: their codes in C++ and CUDA, and rounding to them.

NumPy has no bfloat16, so a uint16 array holds its bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# enum c2t_type of csrc/c2t_kernels.h; C2T_TABLE, C2T_OUT and C2T_LOGITS of the CUDA sources.
TYPE_NUMBER = {
    "float32": 0,
    "float16": 1,
    "uint16": 2,
    "int8": 3,
    "float64": 4,
    "int32": 5,
    "int64": 6,
}


def rounded_to(values: NDArray[np.floating[Any]], dtype: Any) -> NDArray[Any]:
    """Float numbers as float32, float16 or uint16 (the bits of bfloat16), rounded half to even."""
    if np.dtype(dtype) == np.uint16:
        return bfloat16_bits(values.astype(np.float32))
    with np.errstate(over="ignore", under="ignore"):
        stored: NDArray[Any] = values.astype(dtype)
    return stored


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of float32, rounded half to even; NaN stays NaN, its payload is dropped."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
