"""What an MLP does to its numbers between its linears: names, and each in plain NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")  # the place of each is its number in C


def activated(x: Float32, activation: str) -> Float32:
    """One of `ACTIVATIONS` of every number."""
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "gelu":
        erf = np.vectorize(math.erf, otypes=[np.float32])
        share = np.float32(0.5) * (1 + erf(x * np.float32(math.sqrt(0.5))))
    elif activation == "gelu_tanh":
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)
        share = np.float32(0.5) * (1 + np.tanh(inner))
    else:
        share = 1 / (1 + np.exp(-x))
    return np.asarray(x * share, np.float32)
