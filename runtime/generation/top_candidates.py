"""The best few of very many scores, without sorting the vocabulary.

Equal scores are ordered by their smaller index; PyTorch's `topk` leaves that order open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine_protocol import Float32, Int64

BLOCK = 256  # scores of which only the largest is looked at first


def top_candidates(scores: Float32, count: int) -> tuple[Float32, Int64, Int64]:
    """The `count` best of all rows together, best first.

    The best `count` values lie in the `count` blocks with the largest maxima. Maxima of contiguous
    blocks are computed at memory speed, and few values are left to select from.

    Args:
        scores: [N,V], no NaN.
        count: At most N*V.

    Returns:
        Scores, rows and columns, [count] each.
    """
    columns = scores.shape[1]
    flat = np.ascontiguousarray(scores).reshape(-1)
    whole = flat.size // BLOCK
    if whole <= 4 * count:
        index = best_first(flat, count)
    else:
        maxima = flat[: whole * BLOCK].reshape(whole, BLOCK).max(axis=1)
        # Blocks in ascending order keep equal scores in the order of their index. All blocks whose
        # maximum equals the limit are included.
        limit = np.partition(maxima, whole - count)[whole - count]
        blocks = np.flatnonzero(maxima >= limit)
        inside = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
        pool = np.concatenate((inside, np.arange(whole * BLOCK, flat.size)))
        index = pool[best_first(flat[pool], count)]
    return flat[index], index // columns, index % columns


def best_first(scores: Float32, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest scores, best first; equal ones by their smaller index."""
    if len(scores) > 16 * count:
        limit = np.partition(scores, len(scores) - count)[len(scores) - count]
        pool = np.flatnonzero(scores >= limit)
        return pool[np.argsort(-scores[pool], kind="stable")[:count]]
    return np.argsort(-scores, kind="stable")[:count]


def log_softmax_in_place(logits: NDArray[np.floating[Any]]) -> None:
    """Turn logits [N,V] into log probabilities, in their own precision."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
