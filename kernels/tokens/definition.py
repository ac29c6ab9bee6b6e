"""The NumPy definition of the kernels around a decoder step: token rows in, chosen tokens out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.kernels.dtypes import rounded_to

if TYPE_CHECKING:
    from numpy.typing import NDArray


def token_rows_reference(
    token_ids: NDArray[np.int32],
    table: NDArray[Any],
    scale: NDArray[np.float32] | None,
    given: NDArray[np.float32] | None,
    dtype: Any,
) -> NDArray[Any]:
    """Rows of the token table, in the dtype of the decoder's input.

    Args:
        token_ids: [N]; -1 where the row is given.
        table: [V, D] float32, float16, or int8 with a scale per row.
        scale: [V] float32 of an int8 table, else None.
        given: [N, D], read only in rows of token -1; None where there are none.
        dtype: float32, float16 or uint16 (the bits of bfloat16).

    Returns:
        [N, D].
    """
    rows = np.empty((len(token_ids), table.shape[1]), np.float32)
    for row, token in enumerate(token_ids.tolist()):
        if token < 0:
            assert given is not None
            rows[row] = given[row]
        else:
            rows[row] = table[token].astype(np.float32)
            if scale is not None:
                rows[row] *= scale[token]
    return rounded_to(rows, dtype)


def choose_tokens_reference(
    logits: NDArray[Any], banned: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
    """Greedy choices.

    Args:
        logits: [N, V] float32 or float16.
        banned: [N, W] tokens that may not be chosen, padded with -1.

    Returns:
        Three arrays [N]. Tokens: the most probable one that is not banned, the smallest of equals.
        Probabilities: the chosen token's softmax before the ban; NaN where the row is not finite.
        Finite: whether the row's largest logit is finite; a NaN counts as the largest. The token
        of a row that is not finite means nothing.
    """
    wide = logits.astype(np.float64)
    allowed = wide.copy()
    for row, tokens in enumerate(banned):
        allowed[row, tokens[tokens >= 0]] = -np.inf
    tokens = allowed.argmax(axis=1).astype(np.int32)
    top = wide.max(axis=1)
    finite: NDArray[np.bool_] = np.isfinite(top)
    probability = np.full(len(wide), np.nan, np.float32)
    for row in np.flatnonzero(finite).tolist():
        share = np.exp(wide[row] - top[row])
        probability[row] = share[tokens[row]] / share.sum()
    return tokens, probability, finite
