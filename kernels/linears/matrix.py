"""The matrix of a linear, as bundles hold it: floats, or integers with their scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Int8Matrix:
    """A matrix whose product is one of integers (W8A8), symmetric, with static scales.

    Args:
        values: int8, in the same order as floats would be.
        scales: [outputs] quantisation step of each output's weights.
        input_scale: Quantisation step of the input.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    input_scale: float


Matrix: TypeAlias = "NDArray[Any] | Int8Matrix"
