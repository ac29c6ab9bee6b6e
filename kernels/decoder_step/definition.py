"""The NumPy definition of a decoder's step; the kernel is tested against it.

Everything is computed in float32, but for linears in int8, whose sums are exact. Only keys and
values are rounded, to the type of the cache. The GPU's kernel also rounds to float16: queries,
float weights, and the input of a linear that is not in int8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder
from c2t.kernels.linears.activations import activated
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
    x = embeds.astype(np.float32) * np.float32(decoder.embedding_scale)  # the residual stream
    cosines, sines = decoder.cosines[positions], decoder.sines[positions]  # [B, T, rotated / 2]
    q_end, k_end = sizes.q_columns, sizes.q_columns + sizes.kv_heads * sizes.head_size
    epsilon = decoder.epsilon
    for layer, kv in zip(decoder.layers, cache, strict=True):
        biases, mlp_input = layer.biases, x
        normed = _normalised(x, layer.attention_norm, epsilon, biases.attention_norm)
        qkv = _product(normed, layer.qkv, biases.qkv)
        queries, keys, values = (
            part.reshape(batch, tokens, -1, sizes.head_size)
            for part in (qkv[..., :q_end], qkv[..., q_end:k_end], qkv[..., k_end:])
        )
        if layer.q_norm is not None:
            queries = _normalised(queries, layer.q_norm, epsilon)
        if layer.k_norm is not None:
            keys = _normalised(keys, layer.k_norm, epsilon)
        queries, keys = (_rotated(part, cosines, sines) for part in (queries, keys))
        context = np.empty((batch, tokens, q_end), np.float32)
        for row, begin in enumerate(write_index.tolist()):
            for part, new in zip(kv, (keys, values), strict=True):
                part[row, :, begin : begin + tokens] = new[row].swapaxes(0, 1)
            for token in range(tokens):
                end = begin + token + 1
                first = max(0, end - layer.window) if layer.window else 0
                seen = kv[:, row, :, first:end].astype(np.float32)
                scaled = queries[row, token] * np.float32(decoder.scale)
                context[row, token] = _attended(scaled, seen, decoder.attention_cap)
        attended = _product(context, layer.o, biases.o)
        if layer.after_attention is not None:
            attended = _normalised(attended, layer.after_attention, epsilon)
        x = x + attended
        if not decoder.parallel:
            mlp_input = x
        normed = _normalised(mlp_input, layer.mlp_norm, epsilon, biases.mlp_norm)
        wide = _product(normed, layer.gate_up, biases.gate_up)
        if decoder.gated:
            gate, up = np.split(wide, 2, axis=-1)
            wide = activated(gate, decoder.activation) * up
        else:
            wide = activated(wide, decoder.activation)
        made = _product(wide, layer.down, biases.down)
        if layer.after_mlp is not None:
            made = _normalised(made, layer.after_mlp, epsilon)
        x = x + made
    wanted = np.take_along_axis(x, logit_rows[..., None], axis=1)
    final = _normalised(wanted, decoder.norm, epsilon, decoder.norm_bias)
    return _capped(_product(final, decoder.lm_head, by_output=True), decoder.logit_cap)


def _product(
    x: Float32, matrix: Matrix, bias: Float32 | None = None, *, by_output: bool = False
) -> Float32:
    """A linear's output [..., N].

    Args:
        x: [..., K].
        matrix: [K, N], or [N, K] with `by_output`.
        bias: [N].
        by_output: See `matrix`.
    """
    added = np.float32(0) if bias is None else bias
    values = matrix.values if isinstance(matrix, Int8Matrix) else matrix
    weights = values.T if by_output else values
    if not isinstance(matrix, Int8Matrix):
        result: Float32 = x @ weights.astype(np.float32) + added
        return result
    input_scale = np.array(matrix.input_scale, np.float32)
    steps = np.clip(np.rint(x / input_scale), -128, 127)
    sums = steps.astype(np.int32) @ weights.astype(np.int32)
    result = sums.astype(np.float32) * (input_scale * matrix.scales) + added
    return result


def _normalised(
    x: Float32, weight: Float32, epsilon: float, bias: Float32 | None = None
) -> Float32:
    """Norm over the last axis: with a bias a layer norm, without one an RMS norm."""
    if bias is not None:
        x = x - x.mean(axis=-1, keepdims=True)
    result: Float32 = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon) * weight
    return result if bias is None else result + bias


def _rotated(x: Float32, cosines: Float32, sines: Float32) -> Float32:
    """Rotary embedding of heads [B, T, heads, head_size].

    Of the first numbers of a head, as many as there are cosines and sines, both halves turn
    together; the others stay.
    """
    half = cosines.shape[-1]
    first, second, rest = np.split(x, [half, 2 * half], axis=-1)
    cosines, sines = cosines[:, :, None], sines[:, :, None]
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return np.concatenate([*turned, rest], axis=-1)


def _capped(x: Float32, cap: float) -> Float32:
    """The soft cap `cap * tanh(x / cap)` of every number; 0: none."""
    if not cap:
        return x
    return np.asarray(np.float32(cap) * np.tanh(x / np.float32(cap)), np.float32)


def _attended(queries: Float32, kv: Float32, cap: float) -> Float32:
    """One token's attention [heads * head_size]; neighbouring query heads share a KV head.

    Args:
        queries: [heads, head_size], scaled.
        kv: Keys and values [2, kv_heads, positions, head_size].
        cap: Of their products, see `_capped`.
    """
    keys, values = kv
    shared = queries.reshape(len(keys), -1, queries.shape[1])  # [kv_heads, heads of each, size]
    scores = _capped(shared @ keys.swapaxes(1, 2), cap)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    context: Float32 = (weights @ values).reshape(queries.size)
    return context
