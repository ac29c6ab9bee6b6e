"""What a search takes its cells from: an inbox's, sorted by length and run through the encoder.

One decision: nothing is done ahead. More cells are read and encoded only when the search has room
and none is ready; urgent ones go before others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths, token_limits
from c2t.runtime.describe.embedding import embedding_of
from c2t.runtime.describe.engine_watch import EngineWatch
from c2t.runtime.describe.inbox import Inbox, WaitingCell
from c2t.runtime.engine_protocol import Engines, Float32
from c2t.runtime.generation.bundle_prompts import BundlePrompts
from c2t.runtime.generation.sequence import GenerationFailure, Outcome, PromptedCell
from c2t.runtime.system.errors import C2TError

# A window is this many batches. Its cells are sorted into batches of equal length.
WINDOW_BATCHES = 4
# Urgent cells that are begun before another gets its turn: a long file goes on under any load.
URGENT_IN_A_ROW = 7


class PromptedInbox:
    """Cells of an inbox with their prompts, made when the search has room for them.

    Args:
        inbox: Where the cells come from.
        engines: The worker's own.
        prompts: How cells become prompts.
        manifest: Of the bundle. Without an encoder, a cell's tokens are its prompt.
        batch_size: Cells that are encoded at the same time.
        watch: Told whether the encoder works.

    Attributes:
        watched: See `c2t.runtime.generation.sequence.PromptedCells.watched`.
    """

    def __init__(
        self,
        inbox: Inbox,
        engines: Engines,
        prompts: BundlePrompts,
        manifest: Manifest,
        *,
        batch_size: int,
        watch: EngineWatch,
    ) -> None:
        self._inbox = inbox
        self.watched = inbox.watched
        self._engines, self._watch = engines, watch
        self._prompts, self._batch_size = prompts, batch_size
        self._limits, self._gene_input = token_limits(manifest), manifest.gene_input_part
        self._cells: dict[Hashable, WaitingCell] = {}  # on their way through the search
        self._embeddings: dict[Hashable, Float32] = {}
        self._batches: deque[list[WaitingCell]] = deque()  # equally long, for the encoder
        self._ready: deque[PromptedCell | Outcome] = deque()
        self._urgent: deque[PromptedCell | Outcome] = deque()
        self._urgent_in_a_row = 0

    def take(self, *, wait: bool) -> PromptedCell | Outcome | None:
        """See `c2t.runtime.generation.sequence.PromptedCells.take`."""
        if self._urgent_in_a_row < URGENT_IN_A_ROW:
            cell = self._take_urgent() or self._take_other(wait=wait)
        else:
            cell = self._take_other(wait=False) or self._take_urgent()
        return cell

    def _take_urgent(self) -> PromptedCell | Outcome | None:
        if not self._urgent:
            cells = self._inbox.take_urgent(self._batch_size)
            for batch in self._sort(cells, self._urgent):
                self._encode(batch, self._urgent)
        cell = self._first(self._urgent)
        self._urgent_in_a_row += cell is not None
        return cell

    def _take_other(self, *, wait: bool) -> PromptedCell | Outcome | None:
        self._urgent_in_a_row = 0
        while True:
            if (cell := self._first(self._ready)) is not None:
                return cell
            if self._batches:
                self._encode(self._batches.popleft(), self._ready)
                continue
            window = self._inbox.take(WINDOW_BATCHES * self._batch_size, wait=wait)
            if not window:
                return None
            self._batches.extend(self._sort(window, self._ready))

    def _first(self, ready: deque[PromptedCell | Outcome]) -> PromptedCell | Outcome | None:
        """The first that has not left; None if there is none."""
        while ready:
            cell = ready.popleft()
            if not (isinstance(cell, PromptedCell) and self.has_left(cell.key)):
                return cell
        return None

    def has_left(self, key: Hashable) -> bool:
        """See `c2t.runtime.generation.sequence.PromptedCells.has_left`."""
        left = self._inbox.has_left(key)
        if left:
            self.pop(key)
        return left

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """See `c2t.runtime.generation.sequence.PromptedCells.wrote`."""
        self._inbox.wrote(key, token_ids)

    def pop(self, key: Hashable) -> tuple[WaitingCell, Float32 | None]:
        """The cell of a key, which is finished, and its embedding [H]."""
        return self._cells.pop(key), self._embeddings.pop(key, None)

    def _sort(
        self, window: list[WaitingCell], ready: deque[PromptedCell | Outcome]
    ) -> list[list[WaitingCell]]:
        """Sort cells by length into batches; those that cannot be prompted are ready."""
        good: list[WaitingCell] = []
        for cell in window:
            self._cells[cell.key] = cell
            problem = cell.error or check_tokens(cell.tokens, self._limits)
            if problem is None:
                good.append(cell)
            else:
                ready.append((cell.key, GenerationFailure(problem, "cell")))
        if self._gene_input is None:  # nothing runs before the decoder
            return [[cell] for cell in good]
        tokens_most = self._engines.encoder.batch_tokens
        groups = equal_lengths(
            [cell.tokens for cell in good], self._batch_size, tokens_most=tokens_most
        )
        return [[good[index] for index in group] for group in groups]

    def _encode(self, cells: list[WaitingCell], ready: deque[PromptedCell | Outcome]) -> None:
        """Compute cell vectors of a batch; one that fails is tried again cell by cell."""
        if self._gene_input is None:
            prompts = self._prompts
            ready.extend(PromptedCell(c.key, prompts.of_tokens(c.tokens), c.name) for c in cells)
            return
        try:
            tokens = np.stack([cell.tokens for cell in cells]).astype(np.int32, copy=False)
            encoder = self._engines.encoder
            hidden: Float32 | None = None
            if any(cell.embed for cell in cells):
                vectors, hidden = encoder.encode_with_hidden(tokens)
            else:
                vectors = encoder.encode(tokens)
        except C2TError as error:
            if len(cells) == 1:
                self._watch.failed(error.problem)
                failure = GenerationFailure(error.problem, "encoder")
                ready.append((cells[0].key, failure))
            else:
                for cell in cells:
                    self._encode([cell], ready)
            return
        self._watch.worked()
        for place, (cell, of_cell) in enumerate(zip(cells, vectors, strict=True)):
            prompt = self._prompts.of_vectors(of_cell)
            ready.append(PromptedCell(cell.key, prompt, cell.name))
            if cell.embed and hidden is not None:
                embedding = embedding_of(cell.tokens, hidden[place], self._gene_input)
                self._embeddings[cell.key] = embedding
