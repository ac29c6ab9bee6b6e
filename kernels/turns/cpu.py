"""The texts of a greedy search between its steps, on the CPU: two native calls for all of them.

One decision: the definition is `c2t.runtime.generation.python_turns`, which runs where there is no
library; the numbers here are the same to the last bit. A step of a small model takes less time than
Python takes for a dozen operations on each of its texts.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from c2t.kernels.drafts.cpu import MOST_BANS
from c2t.kernels.native import native_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from c2t.kernels.drafts.cpu import PhraseWalk

    Bool = NDArray[np.bool_]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Float64 = NDArray[np.float64]

_POINTERS = (
    *("phrases", "sequence", "counted", "written", "cached", "steps", "state", "failed", "slot"),
    *("drafted", "draft_tokens", "draft_states", "draft_shares", "draft_reach", "draft_bans"),
    *("draft_widths", "token_ids", "start", "banned", "new_rows", "new_places", "new_numbers"),
    *("finished", "end_tokens", "learned", "chosen", "finite"),
)
_OF_SLOTS = ("counted", "written", "cached", "steps", "drafted", "draft_widths", "start")
_SIZES = ("room", "longest", "most_bans", "most_tokens", "ends", "ngram")
_ARGUMENTS = ("first", "count", "limit", "positions")
_NUMBERS = ("overhead", "unlikely", "token_cost", "cost_per_row", "memory", "prior")
_RESULTS = ("tokens", "bans", "furthest", "added", "ended", "drafts", "accepted")


class _TurnsStruct(ctypes.Structure):
    """`struct c2t_turns`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _SIZES + _ARGUMENTS),
        *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_int64) for name in _RESULTS),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnSettings:
    """What all texts have in common.

    Args:
        rows: Texts at the same time.
        positions: Tokens of a prompt and its text that have memory; longer ones get more.
        most_tokens: Of a text.
        longest: Most tokens of a draft.
        ngram: Size of the n-grams that may not be repeated; 0: all may.
        end_tokens: Those that end a text.
        start: State of a text without tokens.
        unlikely: A draft ends before a token whose chance is less.
        token_cost: Cost of one more token in a step of one text, as a share of the step.
        cost_per_row: Added to it for each further text.
        memory: How much of what was learned a step keeps.
        prior: What trust starts from.
    """

    rows: int
    positions: int
    most_tokens: int
    longest: int
    ngram: int
    end_tokens: tuple[int, ...]
    start: int
    unlikely: float
    token_cost: float
    cost_per_row: float
    memory: float
    prior: float


class StepInputs(NamedTuple):
    """What a step of B texts runs over.

    Args:
        token_ids: [B,T] the last token of each text (0 where it has none) and its draft, padded
            with 0.
        start: [B] cache position of the first of them.
        banned: [B,T,N] what the n-gram ban forbids behind each of them, padded with -1.
        furthest: The largest of `start`.
    """

    token_ids: Int32
    start: Int64
    banned: Int32
    furthest: int


class NewTokens(NamedTuple):
    """What a step has added.

    Args:
        rows: [M] which text of the step a token belongs to.
        places: [M] which of its choices it is.
        drafted: How many tokens were drafted, in texts that have not failed.
        accepted: How many of them were right.
        ended: Texts of the step that go no further, the last one first.
    """

    rows: Int64
    places: Int64
    drafted: int
    accepted: int
    ended: list[int]


class TextTurns:
    """Texts in batch rows, which native code drafts for and adds to; for one thread.

    Arrays that its methods give are valid until the next call.

    Args:
        settings: What the texts have in common.
        walk: The phrase table; None: nothing is drafted.
        learned: [2] float64, which is changed: accepted tokens, and those that the shares of the
            table promised.

    Raises:
        LookupError: There is no library.
    """

    def __init__(
        self, settings: TurnSettings, *, walk: PhraseWalk | None, learned: Float64
    ) -> None:
        kernels = native_kernels()
        if kernels is None:
            message = "no native library"
            raise LookupError(message)
        self._propose = kernels.locked.c2t_turns_propose
        self._take = kernels.locked.c2t_turns_take
        self._settings, self._walk = settings, walk
        rows, longest = settings.rows, settings.longest if walk else 0
        most = rows * (longest + 1)
        self._struct = _TurnsStruct(
            phrases=walk.address if walk else None,
            longest=longest,
            most_tokens=settings.most_tokens,
            ends=len(settings.end_tokens),
            ngram=settings.ngram,
            unlikely=settings.unlikely,
            token_cost=settings.token_cost,
            cost_per_row=settings.cost_per_row,
            memory=settings.memory,
            prior=settings.prior,
        )
        self._pointer = ctypes.byref(self._struct)
        self._arrays: dict[str, NDArray[Any]] = {}  # that the structure points at
        arrays: dict[str, NDArray[Any]] = {
            **{name: np.zeros(rows, np.int64) for name in _OF_SLOTS},
            **{name: np.zeros(rows, np.bool_) for name in ("failed", "finished")},
            **{name: np.zeros(most, np.int32) for name in ("draft_tokens", "draft_states")},
            **{name: np.zeros(most, np.float64) for name in ("draft_shares", "draft_reach")},
            **{name: np.zeros(most, np.int64) for name in ("new_rows", "new_places")},
            "new_numbers": np.zeros(most, np.int64),
            "token_ids": np.zeros(most, np.int32),
            "state": np.zeros(rows, np.int32),
            "slot": np.arange(rows, dtype=np.int64),
            "end_tokens": np.array(settings.end_tokens, np.int64),
            "learned": learned,
        }
        for name, array in arrays.items():
            self._point(name, array)
        self._take_memory(most_bans=MOST_BANS)
        self._take_sequences(settings.positions if settings.ngram else settings.most_tokens)
        self._token_ids, self._start = arrays["token_ids"], arrays["start"]
        self._new_rows, self._new_places = arrays["new_rows"], arrays["new_places"]
        self._new_numbers = arrays["new_numbers"]
        self._probabilities = np.zeros((rows, settings.most_tokens))
        self._flat = self._probabilities.reshape(-1)
        # Python reads one number of a memoryview in half the time that it takes in an array.
        self._counted, self._written, self._cached, self._steps, self._slot = (
            arrays[name].data for name in ("counted", "written", "cached", "steps", "slot")
        )
        self._failed, self._finished = (arrays[name].data for name in ("failed", "finished"))

    def _point(self, name: str, array: NDArray[Any]) -> None:
        """Have a pointer of the structure lead to an array."""
        self._arrays[name] = array
        setattr(self._struct, name, array.ctypes.data)

    def _take_memory(self, *, most_bans: int) -> None:
        """Have memory for so many bans at one place."""
        settings = self._settings
        size = settings.rows * (self._struct.longest + 1) * most_bans
        self._point("draft_bans", np.empty(size, np.int32))
        self._banned: Int32 = np.empty(size, np.int32)
        self._point("banned", self._banned)
        self._struct.most_bans = most_bans

    def _take_sequences(self, room: int) -> None:
        """Have memory for so many tokens of each text that the ban counts; keeps what is there."""
        room = max(room, self._settings.most_tokens)
        sequences: Int32 = np.zeros((self._settings.rows, room), np.int32)
        if (old := self._arrays.get("sequence")) is not None:
            sequences[:, : old.shape[1]] = old
        self._point("sequence", sequences)
        self._struct.room = room
        self._sequences = [memoryview(row) for row in sequences]

    def begin(self, row: int, counted: Int32, cached: int) -> None:
        """Begin a text in a batch row; what stood there is forgotten.

        Args:
            row: The batch row.
            counted: Tokens [P] of its prompt that the n-gram ban counts.
            cached: Tokens of its prompt, less one.
        """
        slot, count = self._slot[row], len(counted) if self._settings.ngram else 0
        if count + self._settings.most_tokens > self._struct.room:
            self._take_sequences(2 * count + self._settings.most_tokens)
        if count:
            self._arrays["sequence"][slot, :count] = counted
        self._counted[slot], self._cached[slot] = count, cached
        self._written[slot] = self._steps[slot] = 0
        self._failed[slot] = False
        self._arrays["state"][slot] = self._settings.start

    def propose(
        self, first: int, count: int, *, limit: int, positions: int, overhead: float
    ) -> StepInputs:
        """Draft behind the texts of batch rows [first, first + count).

        Args:
            first: The first batch row.
            count: Of batch rows, at least 1.
            limit: Most tokens of a draft.
            positions: Cache positions of a batch row: no draft goes beyond.
            overhead: See `c2t.runtime.generation.drafts.common_length`.

        Raises:
            IndexError: There are no such batch rows.
        """
        struct = self._struct
        if not 0 <= first < first + count <= self._settings.rows:
            message = f"batch rows {first} to {first + count} of {self._settings.rows}"
            raise IndexError(message)
        struct.first, struct.count, struct.overhead = first, count, overhead
        struct.limit, struct.positions = limit, positions
        while self._propose(self._pointer):
            # There cannot be more bans than tokens in the sequence, so this ends.
            self._take_memory(most_bans=2 * struct.most_bans)
        tokens, bans = struct.tokens, struct.bans
        return StepInputs(
            self._token_ids[: count * tokens].reshape(count, tokens),
            self._start[:count],
            self._banned[: count * tokens * bans].reshape(count, tokens, bans),
            struct.furthest,
        )

    def take(self, chosen: Int64, finite: Bool) -> NewTokens:
        """Add what was chosen to the texts of the last `propose`.

        Args:
            chosen: [B,T] the choice behind each token of the step.
            finite: [B,T] whether its logits were finite numbers.

        Raises:
            ValueError: Choices of another step, or of one that they were taken of already.
        """
        struct = self._struct
        shape = struct.count, struct.tokens
        if chosen.shape != shape or finite.shape != shape:
            message = f"choices {chosen.shape}, {finite.shape} of a step of {shape} tokens"
            raise ValueError(message)
        chosen = np.ascontiguousarray(chosen, np.int64)
        finite = np.ascontiguousarray(finite, np.bool_)
        struct.chosen, struct.finite = chosen.ctypes.data, finite.ctypes.data
        self._take(self._pointer)
        struct.tokens = 0  # choices are taken once
        added, finished = struct.added, self._finished
        ended = [i for i in range(struct.count - 1, -1, -1) if finished[i]] if struct.ended else []
        return NewTokens(
            self._new_rows[:added],
            self._new_places[:added],
            struct.drafts,
            struct.accepted,
            ended,
        )

    def record(self, probabilities: NDArray[np.floating[Any]]) -> None:
        """Keep the probabilities [M] of the tokens that the last `take` has added."""
        self._flat[self._new_numbers[: self._struct.added]] = probabilities

    def remove(self, row: int, last: int) -> None:
        """Take a text out of its batch row; that of batch row `last` takes its place."""
        slots = self._slot
        slots[row], slots[last] = slots[last], slots[row]

    def cached(self, row: int) -> int:
        """Cache positions of a text: of its prompt and its tokens without the last."""
        return self._cached[self._slot[row]]

    def failed(self, row: int) -> bool:
        """Whether the logits behind a text were not finite numbers."""
        return bool(self._failed[self._slot[row]])

    def steps(self, row: int) -> int:
        """How many steps a text has taken."""
        return self._steps[self._slot[row]]

    def tokens(self, row: int) -> memoryview[int]:
        """The tokens of a text so far; later calls may overwrite them."""
        slot = self._slot[row]
        first = self._counted[slot]
        return self._sequences[slot][first : first + self._written[slot]]

    def probabilities(self, row: int) -> list[float]:
        """The probabilities of a text's tokens."""
        slot = self._slot[row]
        found: list[float] = self._probabilities[slot, : self._written[slot]].tolist()
        return found
