"""`no_repeat_ngram_size`: a token may not complete an n-gram that the sequence already has.

As in Hugging Face, the tokens of a prompt count where it has text tokens only. `generate` on
`inputs_embeds` starts from an empty sequence of ids, so a prompt with vectors bans nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from c2t.runtime.engine_protocol import NO_TOKEN, Float32, Int32, Int64

NO_TOKENS: tuple[int, ...] = ()


class NgramBan:
    """The ban of one growing sequence: O(1) per token.

    Args:
        size: n; 0 bans nothing.
        prompt: What the sequence begins with.

    Attributes:
        sequence: Its tokens; empty where nothing is banned.
    """

    def __init__(self, size: int, prompt: Sequence[int] = ()) -> None:
        self._size = size
        self.sequence: array[int] = array("i", prompt if size else ())
        # Of the first so many tokens. Where drafts are native, nobody may ever ask for more.
        self._indexed = 0
        self._tail: tuple[int, ...] = ()  # the last n-1 of these
        self._followers: dict[tuple[int, ...], tuple[int, ...]] = {}

    @property
    def size(self) -> int:
        """Tokens of an n-gram."""
        return self._size

    def append(self, token: int) -> None:
        """Add the next token of the sequence."""
        if self._size:
            self.sequence.append(token)

    def extend(self, tokens: Sequence[int]) -> None:
        """Add the next tokens of the sequence."""
        if self._size:
            self.sequence.extend(tokens)

    def _index(self) -> None:
        """Take in the tokens that were added since."""
        for token in self.sequence[self._indexed :]:
            keep, tail = self._size - 1, self._tail
            if len(tail) == keep:
                followers = self._followers
                followers[tail] = (*followers[tail], token) if tail in followers else (token,)
                tail = tail[1:]
            self._tail = (*tail, token) if keep else ()
        self._indexed = len(self.sequence)

    def after(self, token: int) -> tuple[int, ...]:
        """Add the next token; tokens that may not follow it."""
        self.append(token)
        return self.banned()

    def trial(self) -> NgramBan:
        """A copy to try a continuation on; the original stays as it is."""
        self._index()
        copy = NgramBan(self._size)
        copy.sequence, copy._indexed = self.sequence[:], self._indexed
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
        self._index()
        if self._size == 0 or len(self._tail) < self._size - 1:
            return NO_TOKENS
        return self._followers.get(self._tail, NO_TOKENS)


def banned_array(bans: Sequence[Sequence[Sequence[int]] | Int32], logit_rows: int) -> Int32:
    """Bans of B batch rows as one array [B,logit_rows,N], padded with `NO_TOKEN`.

    Args:
        bans: For each batch row, the bans at its first logit rows, at most `logit_rows`; as an
            array [rows,N] these are padded already.
        logit_rows: Logit rows of a batch row.
    """
    if len(bans) == 1 and isinstance(alone := bans[0], np.ndarray) and len(alone) == logit_rows:
        return alone[None]
    most = max(map(_width, bans), default=0)
    padded: Int32 = np.empty((len(bans), logit_rows, most), dtype=np.int32)
    if most:
        padded.fill(NO_TOKEN)
        for number, row in enumerate(bans):
            if isinstance(row, np.ndarray):
                padded[number, : len(row), : row.shape[1]] = row
                continue
            for logit_row, ban in enumerate(row):
                padded[number, logit_row, : len(ban)] = ban
    return padded


def _width(bans: Sequence[Sequence[int]] | Int32) -> int:
    """The most bans of one logit row."""
    if isinstance(bans, np.ndarray):
        return int(bans.shape[1])
    return max(map(len, bans), default=0)


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
