"""How well cells and texts go together: the score of a joint space.

One decision: a score is exp(temperature) times the dot product of two vectors of length 1, as in
training. So the softmax of a cell's scores over some texts is what the model was trained to give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine_protocol import Float32

Float64 = NDArray[np.float64]


def joint_scores(cells: Float32, texts: Float32, temperature: float) -> Float64:
    """Scores [B, N].

    Args:
        cells: [B, J] of length 1.
        texts: [N, J] of length 1.
        temperature: As trained: a natural logarithm.
    """
    products: Float64 = cells.astype(np.float64) @ texts.astype(np.float64).T
    return math.exp(temperature) * products


def group_scores(scores: Float64, cells: Sequence[int]) -> Float64:
    """Scores [N] of the mean vector of some cells: the mean of their own scores.

    The product is linear, so both are the same number; the published clusters are mean vectors.
    Cells whose scores are NaN are left out; of none the scores are NaN.

    Args:
        scores: [B, N].
        cells: Places among the B.
    """
    own = scores[list(cells)]
    own = own[~np.isnan(own).any(axis=1)]
    if not len(own):
        return np.full(scores.shape[1], np.nan)
    mean: Float64 = own.mean(axis=0)
    return mean


def label_log_probabilities(scores: Float64) -> Float64:
    """The log of the softmax over labels of scores [B, N]; rows of NaN stay so."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    found: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
