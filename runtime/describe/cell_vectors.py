"""From gene tokens to cell vectors: embedding kernel, encoder, projector.

One decision: cells of equal length share a batch, others run alone, so that nothing is ever padded:
the encoder's graph has no mask, and padding would cost time and change nothing for the better.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.engine_protocol import EncoderEngine, Float32, GeneTokenEncoder
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.timing import StageClock

# Measured on a CPU: a batch takes as long as its cells one by one, from 32 genes to 512. Larger
# ones only hold more attention scores in memory (1.6 GB for 8 cells at Geneformer V2's sizes).
BATCH_TOKENS = 512


class CellVectorizer:
    """Runs embedding, encoder and projector for cells given as gene tokens.

    Args:
        encoder: The engine.
        tables: Tables of the gene embedding.
        threads: Threads of the embedding kernel; None: all cores.
        clock: Records the stage embed.
    """

    def __init__(
        self,
        encoder: EncoderEngine | GeneTokenEncoder,
        tables: GeneEmbeddingTables,
        *,
        threads: int | None,
        clock: StageClock,
    ) -> None:
        self._encoder = encoder
        self._tables = tables
        self._threads = threads
        self._clock = clock

    def encode(self, cells: Sequence[GeneTokenArray]) -> Float32:
        """Cell vectors [B,K,D] of B cells of equal length."""
        since = time.perf_counter()
        tokens = np.stack(cells).astype(np.int32, copy=False)
        encoder = self._encoder
        if hasattr(encoder, "encode_genes"):  # the embedding is its business too
            return encoder.encode_genes(tokens)
        batch, length = tokens.shape
        buffer = encoder.input_buffer(batch, length)
        lengths = np.full(batch, length, dtype=np.int32)
        embed_genes(tokens, lengths, self._tables, buffer, threads=self._threads)
        self._clock.add("embed", since)
        return encoder.encode(buffer)


def equal_lengths(cells: Sequence[GeneTokenArray], most: int) -> list[list[int]]:
    """Groups of at most `most` indices of cells that have the same length.

    Groups hold at most `BATCH_TOKENS` gene tokens, or one cell. They are in the order of their
    first cell, so that no cell waits long for its turn.
    """
    groups: list[list[int]] = []
    open_groups: dict[int, list[int]] = {}
    for index, tokens in enumerate(cells):
        group = open_groups.get(len(tokens))
        if group is None or len(group) >= most or (len(group) + 1) * len(tokens) > BATCH_TOKENS:
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


def error_text(error: BaseException) -> str:
    """An error as the one line that stands in a cell's record."""
    return error.problem if isinstance(error, C2TError) else f"{type(error).__name__}: {error}"
