"""Drafts from a phrase table on the CPU, in one native call each.

One decision: the definition is `c2t.runtime.generation.drafts.Drafter`, which runs where there is
no library; the numbers here are the same to the last bit. A step of a small model takes less time
than Python takes to look at thirty edges and their bans.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from c2t.kernels.native import native_kernels

if TYPE_CHECKING:
    from array import array

    from numpy.typing import NDArray

    Int32 = NDArray[np.int32]
    Float64 = NDArray[np.float64]

MOST_BANS = 64  # at one place; a text that repeats itself more often is left to the definition
_POINTER = ctypes.c_void_p


class _TableStruct(ctypes.Structure):
    """`struct c2t_phrases`."""

    _fields_ = (
        ("first_edge", _POINTER),
        ("token", _POINTER),
        ("target", _POINTER),
        ("count", _POINTER),
        ("shorter", _POINTER),
        ("total", _POINTER),
    )


class _DraftStruct(ctypes.Structure):
    """`struct c2t_draft_args`."""

    _fields_ = (
        ("table", _POINTER),
        ("sequence", _POINTER),
        ("tokens", _POINTER),
        ("states", _POINTER),
        ("shares", _POINTER),
        ("reach", _POINTER),
        ("banned", _POINTER),
        ("length", ctypes.c_int64),
        ("ngram", ctypes.c_int64),
        ("state", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("most_bans", ctypes.c_int64),
        ("trust", ctypes.c_double),
        ("unlikely", ctypes.c_double),
        ("drafted", ctypes.c_int64),
        ("bans", ctypes.c_int64),
    )


@dataclass(frozen=True, eq=False)
class PhraseArrays:
    """The automaton's arrays; who makes them has checked every index.

    Args:
        first_edge: [states+1].
        token: [edges].
        target: [edges].
        count: [edges].
        shorter: [states].
        total: [states] What the counts of a state's edges are shares of.
    """

    first_edge: Int32
    token: Int32
    target: Int32
    count: Int32
    shorter: Int32
    total: Float64


@dataclass(frozen=True, eq=False)
class NativeDraft:
    """d drafted tokens.

    Args:
        tokens: [d].
        shares: [d] The share of the table's captions that go on like this.
        reach: [d] The chance that a token is accepted.
        states: [d] The state behind a token.
        banned: [d+1,N] What the n-gram ban forbids before each token and behind the last, padded
            with -1.
    """

    tokens: tuple[int, ...]
    shares: tuple[float, ...]
    reach: tuple[float, ...]
    states: tuple[int, ...]
    banned: Int32


class PhraseWalk:
    """Walks an automaton; for one thread.

    Args:
        arrays: The automaton.
        longest: Most tokens of a draft.

    Raises:
        LookupError: There is no library.
    """

    def __init__(self, arrays: PhraseArrays, longest: int) -> None:
        kernels = native_kernels()
        if kernels is None:
            message = "no native library"
            raise LookupError(message)
        self._library = kernels.locked
        parts = (
            arrays.first_edge,
            arrays.token,
            arrays.target,
            arrays.count,
            arrays.shorter,
            arrays.total,
        )
        self._kept = tuple(np.ascontiguousarray(part) for part in parts)
        self._table = _TableStruct(*(part.ctypes.data for part in self._kept))
        self._tokens, self._states = np.zeros((2, longest), np.int32)
        self._shares, self._reach = np.zeros((2, longest), np.float64)
        self._banned = np.zeros((longest + 1) * MOST_BANS, np.int32)
        self._struct = _DraftStruct(
            ctypes.addressof(self._table),
            None,
            *(
                part.ctypes.data
                for part in (self._tokens, self._states, self._shares, self._reach, self._banned)
            ),
            most_bans=MOST_BANS,
        )
        self._arguments = ctypes.byref(self._struct)
        self._table_pointer = ctypes.byref(self._table)
        self._longest = longest

    @property
    def address(self) -> int:
        """Of the table's structure, `struct c2t_phrases`, which lives as long as this."""
        return ctypes.addressof(self._table)

    def draft(
        self,
        state: int,
        sequence: array[int],
        *,
        ngram: int,
        limit: int,
        trust: float,
        unlikely: float,
    ) -> NativeDraft | None:
        """What probably follows.

        Args:
            state: Where the text stands.
            sequence: Tokens that the n-gram ban counts, an array of type "i".
            ngram: Size of the n-grams; 0 bans nothing.
            limit: Most tokens.
            trust: See `c2t.runtime.generation.drafts.Drafter`.
            unlikely: The draft ends before a token whose chance is less.

        Returns:
            None where the ban forbids more than `MOST_BANS` tokens at one place.
        """
        struct = self._struct
        struct.sequence, struct.length = sequence.buffer_info()
        struct.ngram, struct.state, struct.trust, struct.unlikely = ngram, state, trust, unlikely
        struct.limit = max(0, min(limit, self._longest))
        if self._library.c2t_draft(self._arguments):
            return None
        drafted, bans = struct.drafted, struct.bans
        rows = drafted + 1
        return NativeDraft(
            tuple(self._tokens[:drafted].tolist()),
            tuple(self._shares[:drafted].tolist()),
            tuple(self._reach[:drafted].tolist()),
            tuple(self._states[:drafted].tolist()),
            self._banned[: rows * bans].reshape(rows, bans).copy(),
        )

    def follow(self, state: int, token: int) -> int:
        """The state behind one more token of the text."""
        found: int = self._library.c2t_follow(self._table_pointer, state, token)
        return found
