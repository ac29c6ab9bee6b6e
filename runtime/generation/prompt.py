"""The prompt on an engine: the constant prefix is run once, each cell adds only its own part.

A prompt is prefix ids, cell vectors and suffix ids (`c2t.runtime.bundle.manifest.Prompt`). The
prefix is the same for every cell, and attention looks back only. So the keys and values of the
prefix are the same as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from c2t.runtime.bundle.manifest import Prompt
from c2t.runtime.engine_protocol import (
    NO_TOKEN,
    BoundStep,
    Choices,
    DecoderEngine,
    Float32,
    Int32,
    KeyValueCache,
    SavedPrefix,
)
from c2t.runtime.system.timing import StageClock


class PromptRunner:
    """Runs the prompts of cells; the prefix, which they share, is run once.

    Args:
        decoder: The engine.
        prompt: Token ids around the cell vectors.
        clock: Records the stage prefill.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompt: Prompt,
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._decoder = decoder
        self._suffix = prompt.suffix_ids
        self._prefix_length = len(prompt.prefix_ids)
        self._prefix = self._run_prefix(prompt.prefix_ids)

    def length(self, vectors: int) -> int:
        """Tokens of the whole prompt of a cell with this many vectors."""
        return self._prefix_length + vectors + len(self._suffix)

    def prefill(
        self,
        cache: KeyValueCache,
        row: int,
        cell_vectors: Float32,
        *,
        opening: Sequence[int] = (),
    ) -> Float32:
        """Run the prompt of one cell into a batch row of a cache.

        Args:
            cache: Its capacity must hold the prompt and the opening.
            row: The batch row, which is overwritten.
            cell_vectors: [K,D].
            opening: Text tokens that follow the prompt, whatever the model would choose.

        Returns:
            Logits [V] of the first text token after these; valid until the next run.
        """
        since = time.perf_counter()
        step = self._bind(cache, row, cell_vectors, opening, logit_rows=1)
        logits: Float32 = step.run()[0, 0]
        self._record(since)
        return logits

    def choose(
        self,
        cache: KeyValueCache,
        row: int,
        cell_vectors: Float32,
        *,
        draft: Sequence[int],
        banned: Int32,
    ) -> Choices:
        """Run the prompt of one cell, and a draft behind it, into a batch row of a cache.

        Args:
            cache: Its capacity must hold the prompt and the draft.
            row: The batch row, which is overwritten.
            cell_vectors: [K,D].
            draft: d drafted text tokens.
            banned: [1,d+1,N], see `c2t.runtime.engine_protocol.BoundStep.choose`.

        Returns:
            Choices [1,d+1]: the first text token, and the one after each drafted token.
        """
        since = time.perf_counter()
        step = self._bind(cache, row, cell_vectors, draft, logit_rows=1 + len(draft))
        choices = step.choose(banned)
        self._record(since)
        return choices

    def _bind(
        self,
        cache: KeyValueCache,
        row: int,
        cell_vectors: Float32,
        following: Sequence[int],
        *,
        logit_rows: int,
    ) -> BoundStep:
        """The step that runs a cell's prompt and what follows; logits of its last tokens."""
        vectors = len(cell_vectors)
        end = vectors + len(self._suffix)
        tokens = end + len(following)
        first = self._prefix_length
        if self._prefix is not None:
            cache.load(row, self._prefix)
        step = self._decoder.bind(cache, (row, row + 1), tokens, logit_rows)
        step.inputs_embeds[0, :vectors] = cell_vectors
        step.token_ids[0, :vectors] = NO_TOKEN
        step.token_ids[0, vectors:] = (*self._suffix, *following)
        step.position_ids[0] = np.arange(first, first + tokens)
        step.write_index[0] = first
        step.logit_rows[0] = np.arange(tokens - logit_rows, tokens)
        return step

    def _record(self, since: float) -> None:
        self._clock.add("prefill", since)
        self._clock.mark("first token")

    def _run_prefix(self, ids: tuple[int, ...]) -> SavedPrefix | None:
        if not ids:
            return None
        cache = self._decoder.new_cache(1, len(ids))
        step = self._decoder.bind(cache, (0, 1), len(ids), 1)
        step.token_ids[0] = ids
        step.position_ids[0] = np.arange(len(ids))
        step.write_index[0] = 0
        step.logit_rows[0, 0] = len(ids) - 1
        step.run()
        return cache.save(0, len(ids))
