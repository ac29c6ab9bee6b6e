"""What greedy search does between two steps: drafts, and choices that become tokens.

One decision: a step asks for all its texts at once. So native code can do in two calls what Python
does in a dozen operations for each text (`native_turns`); Python (`python_turns`) defines it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from c2t.runtime.engine_protocol import Choices, Float32, Int32, Int64
from c2t.runtime.generation.sequence import GeneratedSequence, GenerationFailure, PromptedCell

ANY = 1 << 30  # more than any limit


class Proposal(NamedTuple):
    """What a step of B texts runs over; its arrays are valid until the turns are used again.

    Args:
        token_ids: [B,T] the last token of each text and its draft, padded with 0; without a token
            yet, any.
        start: [B] cache position of the first of them.
        furthest: The largest of `start`.
        banned: [B,T,N] tokens that may not be chosen behind each of them, padded with `NO_TOKEN`.
        choose: Chooses from the logits [B,T,V], where the engine does not.
    """

    token_ids: Int32
    start: Int64
    furthest: int
    banned: Int32
    choose: Callable[[Float32], Choices] | None = None


class Turns(Protocol):
    """The texts in the first batch rows of a cache."""

    def begin(self, row: int, cells: Sequence[PromptedCell]) -> None:
        """Begin texts in batch rows from `row` on; what stood there and behind is forgotten."""
        ...

    def propose(
        self, rows: tuple[int, int], *, limit: int, positions: int, overhead: float
    ) -> Proposal:
        """Draft for texts.

        Args:
            rows: First batch row, and the one after the last.
            limit: Most tokens of a draft.
            positions: Cache positions of a batch row: drafts behind the longest text fit in them.
            overhead: See `c2t.runtime.generation.drafts.common_length`.
        """
        ...

    def take(self, choices: Choices) -> list[int]:
        """Append to each text what confirms its draft, and one more token.

        Args:
            choices: [B,T], of the step that was proposed last.

        Returns:
            Batch rows of the texts that are finished, the last one first.
        """
        ...

    def outcome(self, row: int) -> GeneratedSequence | GenerationFailure:
        """The text of a finished cell."""
        ...

    def remove(self, row: int, last: int) -> None:
        """Take a text out of its batch row; that of batch row `last`, the last, takes its place."""
        ...

    def cached(self, row: int) -> int:
        """Cache positions of a text: of its prompt and its tokens without the last."""
        ...

    def tokens(self, row: int) -> Sequence[int]:
        """The tokens of a text so far; valid until the turns are used again."""
        ...
