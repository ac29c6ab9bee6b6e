"""Choices that need the logits: with a repetition penalty, or drawn at random from a seed.

Two decisions. Each text has a random stream of its own, named by the seed and the cell: the number
for its token t is a hash of seed, name and t. So a text does not depend on the cells beside it, on
the number of threads, or on how far a draft reached: drafted tokens are compared with drawn ones.
And a probability is always the model's own, before penalty, ban and temperature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import Float32, Int64
from c2t.runtime.generation.shaped_logits import kept_tokens, shaped

SEED_MAX = (1 << 63) - 1


def random_number(seed: int, name: str, place: int) -> float:
    """A number in [0, 1): the first 53 bits of SHA-256 of seed, place and name.

    Args:
        seed: Of the run.
        name: Of the text: the cell's id, or what a group is called.
        place: Which token of the text it is for, from 0.
    """
    digest = hashlib.sha256(f"{seed}\n{place}\n{name}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def draw(tokens: Int64, shares: NDArray[np.float64], number: float) -> int:
    """The token whose part of [0, 1) holds a number, the parts in the order of the tokens.

    Args:
        tokens: [N].
        shares: Their probabilities [N].
        number: In [0, 1).
    """
    ends = np.cumsum(shares)
    place = int(np.searchsorted(ends, number * ends[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


@dataclass(frozen=True, eq=False)
class Situation:
    """What the choice of one token rests on, besides the logits.

    Args:
        name: Of the text, see `random_number`.
        place: Which token of the text it is, from 0.
        seen: Tokens [N] that are penalised.
        banned: Tokens that may not be chosen.
    """

    name: str
    place: int
    seen: Int64
    banned: Sequence[int] = ()


class DrawnChoices:
    """See `c2t.runtime.engine_protocol.Choices`.

    Args:
        logits: [B,R,V].
        situations: Of each of the B batch rows those of its first logit rows; at the others
            nothing is chosen.
        generation: Penalty, temperature, top_k, top_p and seed.
    """

    def __init__(
        self,
        logits: Float32,
        situations: Sequence[Sequence[Situation]],
        generation: Generation,
    ) -> None:
        self._logits = logits
        self.finite = np.isfinite(logits.max(axis=2))
        self.tokens: Int64 = np.zeros(self.finite.shape, dtype=np.int64)
        for row, of_row in enumerate(situations):
            for logit_row, situation in enumerate(of_row):
                if self.finite[row, logit_row]:
                    token = choose_token(logits[row, logit_row], situation, generation)
                    self.tokens[row, logit_row] = token

    def probabilities(self, rows: Int64, logit_rows: Int64) -> Float32:
        """Softmax probabilities [M] of the chosen tokens at M logit rows; may be called once."""
        places = rows, logit_rows
        logits = self._logits[places]
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(rows)), self.tokens[places]]
        result: Float32 = np.exp(chosen) / np.exp(logits).sum(axis=1)
        return result


def choose_token(logits: Float32, situation: Situation, generation: Generation) -> int:
    """The next token by these settings.

    Args:
        logits: [V], the largest of them finite; the same afterwards.
        situation: What else it rests on.
        generation: The settings.
    """
    banned = np.array(situation.banned, dtype=np.int64)
    with shaped(logits, situation.seen, banned, generation.repetition_penalty) as scores:
        best = int(scores.argmax())
        if generation.temperature == 0 or not np.isfinite(scores[best]):
            return best
        tokens, shares = kept_tokens(
            scores,
            temperature=generation.temperature,
            top_k=generation.top_k,
            top_p=generation.top_p,
        )
    return draw(tokens, shares, random_number(generation.seed, situation.name, situation.place))
