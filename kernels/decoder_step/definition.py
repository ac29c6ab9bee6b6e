"""The NumPy definition of a Llama decoder's step; the kernel is tested against it.

Everything is computed in float32, but for linears in int8, whose sums are exact. Only keys and
values are rounded, to the type of the cache. The GPU's kernel also rounds weights and
activations to float16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.linears.matrix import Int8Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.linears.matrix import Matrix

    Float32 = NDArray[np.float32]


def decoder_step_reference(
    sizes: StepSizes,
    decoder: HostDecoder,
    embeds: Float32,
    cache: NDArray[Any],
    *,
    positions: NDArray[np.int64],
    write_index: NDArray[np.int64],
    logit_rows: NDArray[np.int64],
) -> Float32:
    """Run T tokens of each batch row; their keys and values are written to the cache.

    Args:
        sizes: The decoder's.
        decoder: Its weights.
        embeds: [B, T, D] embeddings of the tokens.
        cache: [layers, 2, B, kv_heads, C, head_size] keys and values, changed in place.
        positions: [B, T] of the rotary embedding.
        write_index: [B] cache position of a batch row's first token; a token attends to the cache
            positions up to its own.
        logit_rows: [B, R] tokens whose logits are wanted.

    Returns:
        Logits [B, R, V].
    """
    batch, tokens, _ = embeds.shape
    x = embeds.astype(np.float32)  # the residual stream
    cosines, sines = decoder.cosines[positions], decoder.sines[positions]  # [B, T, head_size / 2]
    q_end, k_end = sizes.q_columns, sizes.q_columns + sizes.kv_heads * sizes.head_size
    for layer, kv in zip(decoder.layers, cache, strict=True):
        qkv = _product(_normalised(x, layer.attention_norm, decoder.epsilon), layer.qkv)
        queries, keys, values = (
            part.reshape(batch, tokens, -1, sizes.head_size)
            for part in (qkv[..., :q_end], qkv[..., q_end:k_end], qkv[..., k_end:])
        )
        queries, keys = (_rotated(part, cosines, sines) for part in (queries, keys))
        context = np.empty((batch, tokens, q_end), np.float32)
        for row, begin in enumerate(write_index.tolist()):
            for part, new in zip(kv, (keys, values), strict=True):
                part[row, :, begin : begin + tokens] = new[row].swapaxes(0, 1)
            for token in range(tokens):
                seen = kv[:, row, :, : begin + token + 1].astype(np.float32)
                context[row, token] = _attended(queries[row, token] * decoder.scale, seen)
        x = x + _product(context, layer.o)
        gate_up = _product(_normalised(x, layer.mlp_norm, decoder.epsilon), layer.gate_up)
        gate, up = np.split(gate_up, 2, axis=-1)
        x = x + _product(gate / (1 + np.exp(-gate)) * up, layer.down)
    wanted = np.take_along_axis(x, logit_rows[..., None], axis=1)
    final = _normalised(wanted, decoder.norm, decoder.epsilon)
    return _product(final, decoder.lm_head, by_output=True)


def _product(x: Float32, matrix: Matrix, *, by_output: bool = False) -> Float32:
    """A linear's output [..., N].

    Args:
        x: [..., K].
        matrix: [K, N], or [N, K] with `by_output`.
        by_output: See there.
    """
    values = matrix.values if isinstance(matrix, Int8Matrix) else matrix
    weights = values.T if by_output else values
    if not isinstance(matrix, Int8Matrix):
        result: Float32 = x @ weights.astype(np.float32)
        return result
    input_scale = np.array(matrix.input_scale, np.float32)
    steps = np.clip(np.rint(x / input_scale), -128, 127)
    sums = steps.astype(np.int32) @ weights.astype(np.int32)
    result = sums.astype(np.float32) * (input_scale * matrix.scales)
    return result


def _normalised(x: Float32, weight: Float32, epsilon: float) -> Float32:
    """RMS norm over the last axis."""
    result: Float32 = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon) * weight
    return result


def _rotated(x: Float32, cosines: Float32, sines: Float32) -> Float32:
    """Rotary embedding of heads [B, T, heads, head_size]: the halves of a head turn together."""
    first, second = np.split(x, 2, axis=-1)
    cosines, sines = cosines[:, :, None], sines[:, :, None]
    return np.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def _attended(queries: Float32, kv: Float32) -> Float32:
    """One token's attention [heads * head_size]; neighbouring query heads share a KV head.

    Args:
        queries: [heads, head_size], scaled.
        kv: Keys and values [2, kv_heads, positions, head_size].
    """
    keys, values = kv
    shared = queries.reshape(len(keys), -1, queries.shape[1])  # [kv_heads, heads of each, size]
    scores = shared @ keys.swapaxes(1, 2)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    context: Float32 = (weights @ values).reshape(queries.size)
    return context
