"""INT8 attention in plain NumPy: what every implementation computes.

Two decisions. What need not be rounded is taken out before: the keys' mean, which softmax does not
see, and the values' mean, which is added again at the end. And every scale belongs to few numbers:
one query, one key, one column of a block of values, the probabilities of one query in a block. So
an outlier spoils its own block at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

BLOCK = 128  # keys whose probabilities share a scale
INTEGER_MAX = 127  # of queries, keys and values
PROBABILITY_MAX = 255
TINY = 1e-30  # rows of smaller numbers count as zeros: the inverse of their scale would overflow


def attention_reference(
    query: Float32,
    key: Float32,
    value: Float32,
    *,
    heads: int,
    scale: float,
    key_lengths: NDArray[np.int64] | None = None,
) -> Float32:
    """softmax(query @ key.T * scale) @ value for each head, all products of 8-bit integers.

    Args:
        query: [B, Q, heads * head_size].
        key: [B, K, heads * head_size].
        value: As `key`.
        heads: Of queries, keys and values alike.
        scale: Of the products; positive.
        key_lengths: [B] how many keys of each batch row count; None: all. Without any key, the
            result is zero.

    Returns:
        As `query`. NaN where a query, a key or value that counts, or a score is no finite number.
    """
    out = np.zeros(query.shape, dtype=np.float32)
    size = query.shape[2] // heads
    for row in range(query.shape[0]):
        count = key.shape[1] if key_lengths is None else int(key_lengths[row])
        for columns in (slice(head * size, (head + 1) * size) for head in range(heads)):
            if count:
                keys, values = key[row, :count, columns], value[row, :count, columns]
                out[row, :, columns] = _attend(query[row, :, columns], keys, values, scale)
    return out


def _attend(query: Float32, key: Float32, value: Float32, scale: float) -> Float32:
    """One head: [Q, head_size] of queries, keys and values [K, head_size]."""
    if not (np.isfinite(key).all() and np.isfinite(value).all()):
        return np.full_like(query, np.nan)
    finite = np.isfinite(query).all(axis=1, keepdims=True)
    query, query_step = _quantise(np.where(finite, query, np.float32(0)), axis=1)
    key, key_step = _quantise(key - key.mean(axis=0, dtype=np.float32), axis=1)
    mean = value.mean(axis=0, dtype=np.float32)
    products = (query @ key.T) * key_step.T  # exact: less than 2**24
    scores = products * (query_step * np.float32(scale) * np.float32(np.log2(np.e)))
    best = np.full((len(query), 1), -np.inf, dtype=np.float32)
    total = np.zeros((len(query), 1), dtype=np.float32)
    mixed = np.zeros_like(query)
    for start in range(0, len(key), BLOCK):
        block = scores[:, start : start + BLOCK]
        top = block.max(axis=1, keepdims=True)
        exact = np.exp2(block - top)
        rounded = np.rint(PROBABILITY_MAX * exact)
        values, value_step = _quantise(value[start : start + BLOCK] - mean, axis=0)
        before, best = best, np.maximum(best, top)
        kept, added = np.exp2(before - best), np.exp2(top - best)
        total = total * kept + added * exact.sum(axis=1, keepdims=True)
        mixed = mixed * kept + (rounded @ values) * (value_step * added / PROBABILITY_MAX)
    finite &= np.isfinite(best)
    return np.where(finite, mixed / total + mean, np.float32(np.nan))


def _quantise(numbers: Float32, *, axis: int) -> tuple[Float32, Float32]:
    """Whole numbers of up to `INTEGER_MAX`, and the step that they count along `axis`."""
    largest = np.abs(numbers).max(axis=axis, keepdims=True)
    largest[largest < TINY] = 0
    inverse = np.divide(INTEGER_MAX, largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(numbers * inverse), largest / np.float32(INTEGER_MAX)
