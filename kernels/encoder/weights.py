"""The weights of a BERT encoder and its projector on the host.

The definition and the packing read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2t.kernels.linears.matrix import Int8Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from c2t.kernels.linears.matrix import Matrix

    Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class BiasedLinear:
    """A linear: x @ matrix + bias.

    Args:
        matrix: [K, N].
        bias: [N].
    """

    matrix: Matrix
    bias: Float32


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm:
    """A layer norm.

    Args:
        weight: [H].
        bias: [H].
    """

    weight: Float32
    bias: Float32


@dataclass(frozen=True, eq=False, kw_only=True)
class EncoderLayer:
    """A BERT layer, normalised behind each residual sum.

    Args:
        qkv: [H, 3 H] queries, keys and values; [H, 2 H] keys and values with a `query`.
        query: [H, H] queries of the first rows, where only those go on.
        output: [H, H] behind attention.
        attention_norm: Behind its residual sum.
        up: [H, F] of the MLP.
        down: [F, H].
        mlp_norm: Behind the MLP's residual sum.
    """

    qkv: BiasedLinear
    query: BiasedLinear | None
    output: BiasedLinear
    attention_norm: Norm
    up: BiasedLinear
    down: BiasedLinear
    mlp_norm: Norm


@dataclass(frozen=True, eq=False, kw_only=True)
class HostProjector:
    """What makes a cell vector of each row that leaves the last layer: GELU between two linears.

    Args:
        up: [H, F].
        up_norm: Behind it, before GELU.
        up_epsilon: Added to the variance there.
        down: [F, D].
        down_norm: Behind that.
        down_epsilon: Added to the variance there.
    """

    up: BiasedLinear
    up_norm: Norm
    up_epsilon: float
    down: BiasedLinear
    down_norm: Norm
    down_epsilon: float

    @property
    def inputs(self) -> int:
        """H."""
        matrix = self.up.matrix
        values = matrix.values if isinstance(matrix, Int8Matrix) else matrix
        return len(values)

    @property
    def vector_size(self) -> int:
        """D."""
        return len(self.down.bias)


@dataclass(frozen=True, eq=False, kw_only=True)
class HostEncoder:
    """All weights of an encoder.

    Args:
        layers: In order; only the last may have a `query` of its own.
        heads: Of every attention.
        epsilon: Added to the variance in every layer norm.
        scale: Of the products of queries and keys.
        activation: Of the MLPs, one of `c2t.kernels.linears.activations`.
        rows: How many rows of a cell leave the last layer, where it has a `query`; None: all.
    """

    layers: Sequence[EncoderLayer]
    heads: int
    epsilon: float
    scale: float
    activation: str
    rows: int | None

    @property
    def hidden_size(self) -> int:
        """H."""
        return len(self.layers[0].mlp_norm.weight)

    @property
    def intermediate_size(self) -> int:
        """F."""
        return len(self.layers[0].up.bias)
