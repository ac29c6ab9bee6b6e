"""Which cells the encoder runs together, and which it cannot take.

One decision: only cells of equal length share a batch, so nothing is ever padded. The encoder's
graph has no mask, and padding would only cost time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS


def equal_lengths(
    cells: Sequence[GeneTokenArray], most: int, *, tokens_most: int = ENCODER_BATCH_TOKENS
) -> list[list[int]]:
    """Groups of at most `most` indices of cells that have the same length.

    A group holds at most `tokens_most` gene tokens, or one cell. Groups are in the order
    of their first cells, so that no cell waits long for its turn.
    """
    groups: list[list[int]] = []
    open_groups: dict[int, list[int]] = {}
    for index, tokens in enumerate(cells):
        group = open_groups.get(len(tokens))
        if group is None or len(group) >= most or (len(group) + 1) * len(tokens) > tokens_most:
            group = open_groups[len(tokens)] = []
            groups.append(group)
        group.append(index)
    return groups


@dataclass(frozen=True, kw_only=True)
class TokenLimits:
    """What a cell's tokens must be.

    Args:
        vocabulary: How many different tokens there are.
        longest: Most tokens of a cell.
        kind: "gene" or "text".
        reader: What reads them: "encoder" or "decoder".
    """

    vocabulary: int
    longest: int
    kind: str = "gene"
    reader: str = "encoder"


def token_limits(manifest: Manifest) -> TokenLimits:
    """Of a bundle's cells: gene tokens for its encoder, or text tokens of whole prompts."""
    if manifest.has_encoder:
        genes = manifest.gene_input
        return TokenLimits(vocabulary=genes.vocabulary_size, longest=genes.input_size)
    return TokenLimits(
        vocabulary=manifest.decoder.vocabulary_size,
        longest=manifest.prompt_length,
        kind="text",
        reader="decoder",
    )


def check_tokens(tokens: GeneTokenArray, limits: TokenLimits) -> str | None:
    """What makes a cell's tokens unusable, None if nothing does."""
    kind, reader = limits.kind, limits.reader
    if not len(tokens):
        return f"cell has no {kind} tokens"
    if len(tokens) > limits.longest:
        return f"cell has {len(tokens)} {kind} tokens; the {reader} takes {limits.longest}"
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= limits.vocabulary:
        number = low if low < 0 else high
        return f"{kind} token {number} is not among the {reader}'s {limits.vocabulary}"
    return None
