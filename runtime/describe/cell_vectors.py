"""Which cells the encoder runs together, and which it cannot take.

One decision: only cells of equal length share a batch, so nothing is ever padded. The encoder's
graph has no mask, and padding would only cost time.
"""

from __future__ import annotations

from collections.abc import Sequence

from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS


def equal_lengths(cells: Sequence[GeneTokenArray], most: int) -> list[list[int]]:
    """Groups of at most `most` indices of cells that have the same length.

    A group holds at most `ENCODER_BATCH_TOKENS` gene tokens, or one cell. Groups are in the order
    of their first cells, so that no cell waits long for its turn.
    """
    groups: list[list[int]] = []
    open_groups: dict[int, list[int]] = {}
    for index, tokens in enumerate(cells):
        group = open_groups.get(len(tokens))
        if (
            group is None
            or len(group) >= most
            or (len(group) + 1) * len(tokens) > ENCODER_BATCH_TOKENS
        ):
            group = open_groups[len(tokens)] = []
            groups.append(group)
        group.append(index)
    return groups


def check_tokens(tokens: GeneTokenArray, *, vocabulary: int, longest: int) -> str | None:
    """What makes a cell's gene tokens unusable, None if nothing does."""
    if not len(tokens):
        return "cell has no gene tokens"
    if len(tokens) > longest:
        return f"cell has {len(tokens)} gene tokens; the encoder takes {longest}"
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        return f"gene token {low if low < 0 else high} is not among the encoder's {vocabulary}"
    return None
