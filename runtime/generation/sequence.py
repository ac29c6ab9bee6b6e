"""What goes into generation for one cell, what comes out, and how cells arrive and leave."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from c2t.runtime.generation.prompt import CellPrompt

NOT_FINITE = "the decoder's logits are not finite"


@dataclass(frozen=True, eq=False)
class PromptedCell:
    """A cell to be written.

    Args:
        key: Returned with the result.
        prompt: What the decoder reads before it writes.
        name: Of the text's random stream, see `c2t.runtime.generation.drawn_choices`.
    """

    key: Hashable
    prompt: CellPrompt
    name: str = ""


@dataclass(frozen=True)
class GeneratedSequence:
    """The generated tokens of one cell, the EOS token included when it was generated.

    Args:
        token_ids: Text tokens in order.
        probabilities: Of each token: its probability under the model's softmax *before* the
            n-gram ban (the ban says nothing about what the model believes). With beams: along the
            chosen beam.
        steps: Decoder runs that produced them, the prefill included.
        stopped: Whether the last token completes a stop string.
    """

    token_ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    steps: int
    stopped: bool = False


@dataclass(frozen=True)
class GenerationFailure:
    """Why one cell could not be written.

    Args:
        error: The reason, as one line.
        cause: Where it failed. If an engine failed, the cell need not be at fault.
    """

    error: str
    cause: Literal["cell", "encoder", "decoder"] = "decoder"


Outcome = tuple[Hashable, GeneratedSequence | GenerationFailure]


class PromptedCells(Protocol):
    """Where a search takes its cells from. Cells may join and leave while others are written."""

    @property
    def watched(self) -> bool:
        """Whether cells may leave, or somebody reads unfinished texts; else nobody is asked."""
        ...

    def take(self, *, wait: bool) -> PromptedCell | Outcome | None:
        """The next cell, or the outcome of one that failed before its prompt.

        Args:
            wait: Wait until there is one.

        Returns:
            None where there is none: with `wait` no more will come, without it none is there yet.
        """
        ...

    def has_left(self, key: Hashable) -> bool:
        """Whether nobody wants this cell's text any more; asked between two steps."""
        ...

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """Told after a step what an unfinished text has so far; who keeps that copies it."""
        ...


class FixedCells:
    """Cells of an iterable, which never has to be waited for; none of them leaves."""

    watched = False

    def __init__(self, cells: Iterable[PromptedCell]) -> None:
        self._cells = iter(cells)

    def take(self, *, wait: bool) -> PromptedCell | None:
        """See `PromptedCells.take`."""
        return next(self._cells, None)

    def has_left(self, key: Hashable) -> bool:
        """See `PromptedCells.has_left`."""
        return False

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """See `PromptedCells.wrote`: whoever reads the outcomes gets whole texts."""
