"""Cells that wait for a worker, and where it takes them from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray


@dataclass(frozen=True)
class WaitingCell:
    """A cell that waits for a worker.

    Args:
        key: The description comes with it.
        name: The cell's id.
        tokens: Its gene tokens [S], or the text tokens of its prompt.
        genes_used: Genes among them.
        error: Why it cannot be described; None where it can.
        embed: Keep its embedding.
    """

    key: Hashable
    name: str
    tokens: GeneTokenArray
    genes_used: int
    error: str | None = None
    embed: bool = False


class Inbox(Protocol):
    """Where a worker takes its cells from."""

    @property
    def watched(self) -> bool:
        """Whether cells may leave, or somebody reads unfinished texts; else nobody is asked."""
        ...

    def take(self, most: int, *, wait: bool) -> list[WaitingCell]:
        """At most `most` cells.

        Args:
            most: At least 1.
            wait: Wait until there are some. Then an empty list means that no more will come.
        """
        ...

    def take_urgent(self, most: int) -> list[WaitingCell]:
        """At most `most` cells that go before others, some of which may have been taken already."""
        ...

    def has_left(self, key: Hashable) -> bool:
        """Whether nobody waits for this cell any more."""
        ...

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """Told after a step what an unfinished text has so far; who keeps that copies it."""
        ...


class ChunkInbox:
    """The cells of chunks; their keys are 0, 1, 2, ... in the order of the cells.

    Args:
        embed: Keep the embedding of each.
    """

    watched = False

    def __init__(self, chunks: Iterable[EncodedCells], *, embed: bool = False) -> None:
        self._cells = _numbered(chunks, embed)

    def take(self, most: int, *, wait: bool) -> list[WaitingCell]:
        """See `Inbox.take`."""
        return list(islice(self._cells, most))

    def take_urgent(self, most: int) -> list[WaitingCell]:
        """See `Inbox.take_urgent`: the cells of a file have an order."""
        return []

    def has_left(self, key: Hashable) -> bool:
        """See `Inbox.has_left`: whoever stops reading stops the worker as a whole."""
        return False

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """See `Inbox.wrote`: descriptions are passed on whole."""


def _numbered(chunks: Iterable[EncodedCells], embed: bool) -> Iterator[WaitingCell]:
    key = 0
    for chunk in chunks:
        for name, tokens, used, error in zip(
            chunk.ids, chunk.tokens, chunk.genes_used, chunk.errors, strict=True
        ):
            yield WaitingCell(key, str(name), tokens, int(used), error, embed)
            key += 1
