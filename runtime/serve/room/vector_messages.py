"""What goes through a door of vectors of cells, and of texts compared with cells."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from c2t.runtime.serve.room.analysis_messages import ANNOTATED_MAX, CountsAre
from c2t.runtime.serve.room.messages import CountedCell

TEXTS_MAX = 64  # of a request
TEXT_LETTERS_MAX = 4000

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LETTERS_MAX)]


class EmbedRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells whose vectors are wanted, and how to read their counts."""

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=ANNOTATED_MAX)]
    settings: CountsAre = CountsAre()


class VectorResult(msgspec.Struct):
    """The vectors of one cell.

    Args:
        cell: Its name.
        embedding: The encoder's.
        joint: Its place in the space of cells and texts, of length 1; null without such a space.
        genes_used: Genes of the cell that the model saw.
        error: Why there are none.
    """

    cell: str
    embedding: list[float] | None
    joint: list[float] | None
    genes_used: int
    error: str | None


class EmbedResponse(msgspec.Struct):
    """The cells of a request in their order, and what is doubtful about it as a whole."""

    cells: list[VectorResult]
    warnings: list[str]


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells, and the texts to compare with them.

    Args:
        cells: They are compared one like the other.
        texts: Different ones.
        settings: How to read the counts.
    """

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=ANNOTATED_MAX)]
    texts: Annotated[list[Text], Meta(min_length=1, max_length=TEXTS_MAX)]
    settings: CountsAre = CountsAre()


class ScoreResult(msgspec.Struct):
    """The scores of one cell, in the order of the texts; null with an error."""

    cell: str
    scores: list[float] | None
    error: str | None


class SearchResponse(msgspec.Struct):
    """The cells of a request in their order, and what is doubtful about it as a whole."""

    cells: list[ScoreResult]
    warnings: list[str]
