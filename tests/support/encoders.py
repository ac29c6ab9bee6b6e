"""Random encoders for the tests of the native encoder."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from c2t.kernels.encoder.weights import (
    BiasedLinear,
    EncoderLayer,
    HostEncoder,
    HostProjector,
    Norm,
)
from c2t.kernels.linears.matrix import Int8Matrix


def random_encoder(
    *,
    layers: int,
    hidden_size: int,
    intermediate_size: int,
    heads: int,
    rows: int | None = None,
    activation: str = "relu",
    floats: Collection[str] = (),
    seed: int = 0,
) -> HostEncoder:
    """An encoder whose activations are of the size of a trained one's.

    Args:
        rows: How many rows leave the last layer, which then has queries of its own.
        floats: Linears in float32, such as "qkv"; the others are in int8.
    """
    draw = np.random.default_rng(seed)

    def linear(name: str, inputs: int, outputs: int) -> BiasedLinear:
        return _linear(draw, inputs, outputs, int8=name not in floats)

    def norm() -> Norm:
        return _norm(draw, hidden_size)

    def layer(*, own_query: bool) -> EncoderLayer:
        size = hidden_size
        return EncoderLayer(
            qkv=linear("qkv", size, (2 if own_query else 3) * size),
            query=linear("query", size, size) if own_query else None,
            output=linear("output", size, size),
            attention_norm=norm(),
            up=linear("up", size, intermediate_size),
            down=linear("down", intermediate_size, size),
            mlp_norm=norm(),
        )

    return HostEncoder(
        layers=[
            layer(own_query=rows is not None and index == layers - 1) for index in range(layers)
        ],
        heads=heads,
        epsilon=1e-12,
        scale=(hidden_size // heads) ** -0.5,
        activation=activation,
        rows=rows,
    )


def random_projector(
    inputs: int, wide: int, vector_size: int, *, int8: bool = True, seed: int = 0
) -> HostProjector:
    """A projector of an encoder's rows [R, inputs]."""
    draw = np.random.default_rng(seed)
    return HostProjector(
        up=_linear(draw, inputs, wide, int8=int8),
        up_norm=_norm(draw, wide),
        up_epsilon=1e-5,
        down=_linear(draw, wide, vector_size, int8=int8),
        down_norm=_norm(draw, vector_size),
        down_epsilon=1e-3,
    )


def _linear(draw: np.random.Generator, inputs: int, outputs: int, *, int8: bool) -> BiasedLinear:
    bias = draw.normal(0, 0.1, outputs).astype(np.float32)
    if not int8:
        values = draw.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        return BiasedLinear(matrix=values, bias=bias)
    scales = draw.uniform(0.5, 1, outputs) / 127 * (3 / inputs) ** 0.5
    matrix = Int8Matrix(
        values=draw.integers(-127, 128, (inputs, outputs)).astype(np.int8),
        scales=scales.astype(np.float32),
        input_scale=3 / 127,
    )
    return BiasedLinear(matrix=matrix, bias=bias)


def _norm(draw: np.random.Generator, size: int) -> Norm:
    weight, bias = draw.uniform(0.8, 1.2, size), draw.normal(0, 0.1, size)
    return Norm(weight=weight.astype(np.float32), bias=bias.astype(np.float32))
