"""The NumPy definition of the gene embedding; every other implementation is tested against it.

It is written to be read, not to be fast. It also runs where no native library could be built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import rounded_to

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

# Ranks computed together: their float64 rows stay in the cache however long a cell is.
RANK_BLOCK = 128


def embed_genes_reference(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    tables: GeneEmbeddingTables,
    out: NDArray[Any],
    *,
    out_scale: float | None = None,
) -> NDArray[Any]:
    """Fill `out` with LayerNorm(word[token] + position[rank] + token_type) * gamma + beta.

    Args:
        tokens: [B, S] int32; tokens after a cell's length are not read.
        lengths: [B] int32.
        tables: Of any storage type; computed in float64.
        out: [B, S, H] float32, float16, uint16 (the bits of bfloat16) or int8; rows after a cell's
            length become zero.
        out_scale: For int8: out = clip(round_half_even(y / out_scale), -128, 127).

    Returns:
        `out`.
    """
    token_type = 0.0 if tables.token_type is None else tables.token_type.astype(np.float64)
    for cell, length in enumerate(lengths):
        for first in range(0, int(length), RANK_BLOCK):
            ranks = slice(first, min(first + RANK_BLOCK, int(length)))
            row_tokens = tokens[cell, ranks]
            x = tables.word[row_tokens].astype(np.float64)  # [ranks, H]
            if tables.word_scale is not None:
                x *= tables.word_scale[row_tokens, None]
            position = tables.position[ranks].astype(np.float64)
            if tables.position_scale is not None:
                position *= tables.position_scale[ranks, None]
            x += position
            x += token_type
            x -= x.mean(axis=1, keepdims=True)
            variance = np.square(x).mean(axis=1, keepdims=True)
            y = x / np.sqrt(variance + tables.epsilon) * tables.gamma + tables.beta
            out[cell, ranks] = _stored(y, out.dtype, out_scale)
        out[cell, int(length) :] = 0
    return out


def _stored(y: NDArray[np.float64], dtype: np.dtype[Any], scale: float | None) -> NDArray[Any]:
    if dtype != np.int8:
        return rounded_to(y, dtype)
    steps = y.astype(np.float32) / np.float32(1.0 if scale is None else scale)
    saturated: NDArray[Any] = np.clip(np.rint(steps), -128, 127).astype(np.int8)
    return saturated
