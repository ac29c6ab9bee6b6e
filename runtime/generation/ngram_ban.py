"""`no_repeat_ngram_size`: a token may not complete an n-gram that the sequence already has.

As in Hugging Face, the tokens of a prompt count where it has text tokens only. `generate` on
`inputs_embeds` starts from an empty sequence of ids, so a prompt with vectors bans nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from c2t.runtime.engine_protocol import NO_TOKEN, Float32, Int32, Int64

NO_TOKENS: tuple[int, ...] = ()


class NgramBan:
    """The ban of one growing sequence: O(1) per token.

    Args:
        size: n; 0 bans nothing.
        prompt: What the sequence begins with.
    """

    def __init__(self, size: int, prompt: Sequence[int] = ()) -> None:
        self._size = size
        self._tail: tuple[int, ...] = ()  # the last n-1 tokens
        self._followers: dict[tuple[int, ...], tuple[int, ...]] = {}
        for token in prompt if size else ():
            self.append(token)

    def append(self, token: int) -> None:
        """Add the next token of the sequence."""
        keep, tail = self._size - 1, self._tail
        if keep < 0:
            return
        if len(tail) == keep:
            followers = self._followers
            followers[tail] = (*followers[tail], token) if tail in followers else (token,)
            tail = tail[1:]
        self._tail = (*tail, token) if keep else ()

    def after(self, token: int) -> tuple[int, ...]:
        """Add the next token; tokens that may not follow it."""
        self.append(token)
        return self.banned()

    def trial(self) -> NgramBan:
        """A copy to try a continuation on; the original stays as it is."""
        copy = NgramBan(self._size)
        copy._tail, copy._followers = self._tail, self._followers.copy()
        return copy

    def along(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        """Banned tokens next, and after each of `tokens`."""
        if not tokens or self._size == 0:
            return [self.banned()] * (1 + len(tokens))
        trial = self.trial()
        return [trial.banned(), *map(trial.after, tokens)]

    def banned(self) -> tuple[int, ...]:
        """Tokens that may not come next."""
        if self._size == 0 or len(self._tail) < self._size - 1:
            return NO_TOKENS
        return self._followers.get(self._tail, NO_TOKENS)


def banned_array(bans: Sequence[Sequence[tuple[int, ...]]], logit_rows: int) -> Int32:
    """Bans of B batch rows as one array [B,logit_rows,N], padded with `NO_TOKEN`.

    Args:
        bans: For each batch row, the bans at its first logit rows; at most `logit_rows`.
        logit_rows: Logit rows of a batch row.
    """
    most = max(map(len, chain.from_iterable(bans)), default=0)
    array: Int32 = np.empty((len(bans), logit_rows, most), dtype=np.int32)
    if most:
        array.fill(NO_TOKEN)
        for number, row in enumerate(bans):
            for logit_row, ban in enumerate(row):
                array[number, logit_row, : len(ban)] = ban
    return array


def ban_in_place(scores: Float32, sequences: Int64, size: int) -> None:
    """Set the scores of banned tokens to -inf for several sequences of one length.

    Args:
        scores: [N,V], changed in place.
        sequences: Tokens so far, [N,length].
        size: n; 0 bans nothing.
    """
    length = sequences.shape[1]
    if size == 0 or length < size:
        return
    windows = np.lib.stride_tricks.sliding_window_view(sequences, size, axis=1)  # [N,W,n]
    tail = sequences[:, length - (size - 1) :]  # [N,n-1]
    repeats = (windows[:, :, :-1] == tail[:, None, :]).all(axis=2)
    row, window = np.nonzero(repeats)
    scores[row, windows[row, window, -1]] = -np.inf
