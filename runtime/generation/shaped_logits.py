"""Logits as `generate` changes them before it chooses: penalty, bans, temperature, top k and top p.

The order is that of transformers (`GenerationMixin._get_logits_processor`): penalty, n-gram ban,
temperature, top k, top p. The penalty divides a positive logit and multiplies a negative one, once
however often the token has come (`RepetitionPenaltyLogitsProcessor`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine_protocol import Float32, Int64

Float64 = NDArray[np.float64]


def penalise_in_place(scores: Float32, tokens: Int64, penalty: float) -> None:
    """Penalise the tokens that a sequence has already.

    Args:
        scores: [V], changed in place.
        tokens: Each once or several times, [N].
        penalty: 1 changes nothing; above 1 repeats less.
    """
    if penalty == 1 or not len(tokens):
        return
    found = scores[tokens]
    factor = np.float32(penalty)
    scores[tokens] = np.where(found < 0, found * factor, found / factor)


@contextmanager
def shaped(logits: Float32, seen: Int64, banned: Int64, penalty: float) -> Iterator[Float32]:
    """The same logits, penalised and with -inf where a token is banned; put back afterwards.

    A copy of them all would cost as much as choosing does.

    Args:
        logits: [V].
        seen: Tokens [N] that the penalty is for.
        banned: Tokens [M] that may not be chosen.
        penalty: See `penalise_in_place`.
    """
    changed = np.concatenate((seen, banned)) if penalty != 1 else banned
    before = logits[changed]
    penalise_in_place(logits, seen, penalty)
    logits[banned] = -np.inf
    try:
        yield logits
    finally:
        logits[changed] = before


def kept_tokens(
    scores: Float32, *, temperature: float, top_k: int, top_p: float
) -> tuple[Int64, Float64]:
    """The tokens that may be drawn, and their probabilities.

    Args:
        scores: [V], finite or -inf, at least one finite.
        temperature: Above 0.
        top_k: Only so many of the most probable tokens, and those that equal the last of them; 0
            keeps all.
        top_p: Only the most probable tokens that together have so much of the probability; 1 keeps
            all. The most probable one is always kept; of equal ones those with the smaller ids.

    Returns:
        Text tokens in ascending order, and their probabilities, which add up to 1; [N] each.
    """
    with np.errstate(over="ignore"):
        wide = scores.astype(np.float64) / temperature
    if np.isposinf(wide).any() or not np.isfinite(wide).any():  # a temperature of nearly 0
        wide = np.where(scores == scores.max(), 0.0, -np.inf)
    tokens = np.flatnonzero(wide > -np.inf)
    if 0 < top_k < len(tokens):
        limit = np.partition(wide[tokens], len(tokens) - top_k)[len(tokens) - top_k]
        tokens = tokens[wide[tokens] >= limit]
    shares = np.exp(wide[tokens] - wide[tokens].max())
    shares /= shares.sum()
    if top_p < 1:
        keep = _nucleus(shares, top_p)
        tokens, shares = tokens[keep], shares[keep]
        shares /= shares.sum()
    return tokens, shares


def _nucleus(shares: Float64, top_p: float) -> Int64:
    """Places, ascending, of the most probable tokens whose less probable rest is above 1 - top_p.

    Only few of a vocabulary are sorted: all that have less than an equal part of 1 - top_p are
    left out together.
    """
    rest = 1 - top_p
    likely = np.flatnonzero(shares >= rest / len(shares))
    # Ascending by probability; of equal ones the larger ids come first, and leave first.
    order = likely[np.lexsort((-likely, shares[likely]))]
    below = shares.sum() - shares[likely].sum()
    gone = below + np.cumsum(shares[order]) <= rest
    gone[-1] = False
    kept: Int64 = np.sort(order[~gone])
    return kept
