"""The precisions of a bundle, as its manifest names them; and of each linear of its graphs.

Nothing loads here: the command line shows these names before a command runs.
"""

from __future__ import annotations

import enum


class Precision(enum.StrEnum):
    """How a bundle's linears are computed."""

    fp32 = "fp32"  # as exported
    int8 = "int8"  # weights and activations int8, with calibrated scales
    int8_weights = "int8-weights"  # weights int8 in blocks, activations float32
    int4_weights = "int4-weights"  # weights int4 in blocks, activations float32

    @property
    def weight_bits(self) -> int:
        """Bits of a weight, without its share of a scale."""
        return {"fp32": 32, "int4-weights": 4}.get(self.value, 8)

    @property
    def is_weight_only(self) -> bool:
        """Whether weights are quantised in blocks, and activations are not quantised."""
        return self in (Precision.int8_weights, Precision.int4_weights)


# What a float32 bundle can be quantised to.
QUANTISED = tuple(precision for precision in Precision if precision is not Precision.fp32)
