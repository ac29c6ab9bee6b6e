"""The prompt on an engine: the constant prefix is run once, each cell adds only its own part.

Source: the prompt is prefix ids, cell vectors, suffix ids (`c2t.runtime.manifest.Prompt`). All that
stands before the first cell vector is the same for every cell, and attention looks back only, so
its keys and values are too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine import DecoderEngine, Float32, KeyValueCache, SavedPrefix
from c2t.runtime.manifest import Prompt
from c2t.runtime.stages import StageClock


class PromptRunner:
    """Prefills cells behind the prompt's prefix.

    Args:
        decoder: The engine.
        prompt: Token ids around the cell vectors.
        token_embedding: Text token rows [V,D], any float dtype; may be memory-mapped.
        clock: Books the stage prefill.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompt: Prompt,
        token_embedding: NDArray[Any],
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._decoder = decoder
        self._table = token_embedding
        self._suffix: Float32 = _rows(token_embedding, prompt.suffix_ids)
        self._prefix_length = len(prompt.prefix_ids)
        self._prefix = self._run_prefix(_rows(token_embedding, prompt.prefix_ids))

    def length(self, vectors: int) -> int:
        """Tokens of the whole prompt of a cell with this many vectors."""
        return self._prefix_length + vectors + len(self._suffix)

    def prefill(
        self, cache: KeyValueCache, row: int, cell_vectors: Float32, draft: Sequence[int] = ()
    ) -> Float32:
        """Run the prompt of one cell, and tokens that may follow it, into a row of a cache.

        Args:
            cache: Its capacity must hold the prompt.
            row: The row; what was in it is forgotten.
            cell_vectors: [K,D].
            draft: d drafted text tokens.

        Returns:
            Logits [d+1,V]: of the first text token, and of the one after each drafted token; valid
            until the next run of the same shape.
        """
        since = time.perf_counter()
        vectors = len(cell_vectors)
        end = vectors + len(self._suffix)
        tokens = end + len(draft)
        first = self._prefix_length
        if self._prefix is not None:
            cache.load(row, self._prefix)
        step = self._decoder.bind(cache, (row, row + 1), tokens, 1 + len(draft))
        step.inputs_embeds[0, :vectors] = cell_vectors
        step.inputs_embeds[0, vectors:end] = self._suffix
        if draft:
            step.inputs_embeds[0, end:] = self._table[list(draft)]
        step.position_ids[0] = np.arange(first, first + tokens)
        step.write_index[0] = first
        step.logit_rows[0] = np.arange(end - 1, tokens)
        logits: Float32 = step.run()[0]
        self._clock.add("prefill", since)
        self._clock.mark("first token")
        return logits

    def _run_prefix(self, rows: Float32) -> SavedPrefix | None:
        if not len(rows):
            return None
        cache = self._decoder.new_cache(1, len(rows))
        step = self._decoder.bind(cache, (0, 1), len(rows), 1)
        step.inputs_embeds[0] = rows
        step.position_ids[0] = np.arange(len(rows))
        step.write_index[0] = 0
        step.logit_rows[0, 0] = len(rows) - 1
        step.run()
        return cache.save(0, len(rows))


def _rows(table: NDArray[Any], ids: tuple[int, ...]) -> Float32:
    return np.asarray(table[np.asarray(ids, dtype=np.int64)], dtype=np.float32)
