"""The encoder and its projector in plain NumPy: what every native implementation computes.

Sums of linears in int8 are exact; attention is `attention_reference`; all else is float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from c2t.kernels.attention.definition import attention_reference
from c2t.kernels.linears.activations import activated
from c2t.kernels.linears.matrix import Int8Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.encoder.weights import BiasedLinear, HostEncoder, HostProjector, Norm

    Float32 = NDArray[np.float32]


def encoder_reference(encoder: HostEncoder, embeddings: Float32) -> Float32:
    """Run the layers of an encoder.

    Args:
        encoder: Its weights.
        embeddings: [B, S, H], all cells of equal length.

    Returns:
        [B, rows of the last layer, H].
    """
    x = embeddings
    for layer in encoder.layers:
        packed, rows = _product(x, layer.qkv), x
        if layer.query is None:
            query, key, value = np.split(packed, 3, axis=-1)
        else:
            key, value = np.split(packed, 2, axis=-1)
            rows = x[:, : encoder.rows]
            query = _product(rows, layer.query)
        context = attention_reference(query, key, value, heads=encoder.heads, scale=encoder.scale)
        summed = _product(context, layer.output) + rows
        x = _normalised(summed, layer.attention_norm, encoder.epsilon)
        wide = _product(x, layer.up)
        wide = activated(wide, encoder.activation)
        x = _normalised(_product(wide, layer.down) + x, layer.mlp_norm, encoder.epsilon)
    return x


def projector_reference(projector: HostProjector, hidden: Float32) -> Float32:
    """Cell vectors [B, R, D] of the rows [B, R, H] that leave an encoder."""
    wide = _normalised(_product(hidden, projector.up), projector.up_norm, projector.up_epsilon)
    vectors = _product(activated(wide, "gelu"), projector.down)
    return _normalised(vectors, projector.down_norm, projector.down_epsilon)


def _product(x: Float32, linear: BiasedLinear) -> Float32:
    matrix = linear.matrix
    if not isinstance(matrix, Int8Matrix):
        return np.asarray(x @ matrix + linear.bias, np.float32)
    step = np.float32(matrix.input_scale)
    integers = np.clip(np.rint(x / step), -128, 127)
    sums = integers.astype(np.float64) @ matrix.values.astype(np.float64)  # exact: below 2**53
    scales = step * matrix.scales
    return np.asarray(sums.astype(np.float32) * scales + linear.bias, np.float32)


def _normalised(x: Float32, norm: Norm, epsilon: float) -> Float32:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    normalised = centred / np.sqrt(variance + np.float32(epsilon))
    return np.asarray(normalised * norm.weight + norm.bias, np.float32)
