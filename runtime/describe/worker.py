"""Everything that one thread needs to turn encoded cells into descriptions.

One decision: nothing is done ahead. A search takes its next cell when it has room for one, and only
then are more cells read and run through the encoder. So memory holds one window of cells and one
batch, however long the file is, and stopping early stops everything.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation, Manifest
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths
from c2t.runtime.describe.confidence import (
    byte_token_ends,
    span_confidence,
    text_confidence,
    token_ends,
)
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.embedding import embedding_of
from c2t.runtime.describe.unsure import UnsureMark
from c2t.runtime.engine_protocol import Engines, Float32
from c2t.runtime.fields.reader import FieldReader, Fields
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.drafts import DraftSource
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import (
    FixedCells,
    GeneratedSequence,
    GenerationFailure,
    Outcome,
    PromptedCell,
)
from c2t.runtime.system.errors import BundleError, C2TError, EngineError
from c2t.runtime.system.timing import StageClock

# If an engine fails for this many cells before it works for one, the engine is at fault.
FAILURES_AT_START = 3
# A window is this many batches. Its cells are sorted into batches of equal length.
WINDOW_BATCHES = 4
# Urgent cells that are begun before another gets its turn: a long file goes on under any load.
URGENT_IN_A_ROW = 7


@dataclass(frozen=True)
class WaitingCell:
    """A cell that waits for a worker.

    Args:
        key: The description comes with it.
        name: The cell's id.
        tokens: Its gene tokens [S].
        genes_used: Gene tokens that are genes.
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
        """Told after a step what an unfinished text has so far; who keeps the list copies it."""
        ...


class ChunkInbox:
    """The cells of chunks; their keys are 0, 1, 2, ... in the order of the cells.

    Args:
        embed: Keep the embedding of each.
    """

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


class Worker:
    """Describes cells in one thread. Several workers may share the weights of their engines.

    Args:
        engines: The worker's own engines.
        generation: The settings in force.
        batch_size: Cells that are written at the same time.
        drafter: The worker's own drafter, if there is one.
        fields: Reads the fields of texts; workers share it.
        clock: Records the stages.
        embeds: Whether all descriptions of chunks have the cell's embedding.
        mark: Marks unsure cells; None: none is marked.

    Raises:
        EngineError: Settings that the decoder cannot hold.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Engines,
        generation: Generation,
        *,
        batch_size: int,
        drafter: DraftSource | None,
        fields: FieldReader,
        clock: StageClock,
        embeds: bool = False,
        mark: UnsureMark | None = None,
    ) -> None:
        self.engines = engines
        self._mark = mark
        self.batch_size = batch_size
        self.clock = clock
        self.gene_input = bundle.manifest.gene_input
        self.embeds = embeds
        self.encoder_watch, self._decoder_watch = _EngineWatch(), _EngineWatch()
        self._tokenizer = bundle.tokenizer
        self._fields = fields
        self._end = frozenset(generation.eos_token_ids)
        decoder = engines.decoder
        prompts = PromptRunner(decoder, bundle.manifest.prompt, clock)
        longest_draft = drafter.longest if drafter else 0
        capacity = cache_capacity(bundle.manifest, generation, draft=longest_draft)
        self._search: GreedySearch | BeamSearch
        if generation.num_beams > 1:
            self._search = BeamSearch(
                decoder, prompts, generation=generation, capacity=capacity, clock=clock
            )
        else:
            self._search = GreedySearch(
                decoder,
                prompts,
                generation=generation,
                rows=batch_size,
                capacity=capacity,
                drafter=drafter,
                clock=clock,
            )

    def describe(self, chunks: Iterable[EncodedCells]) -> Iterator[Description]:
        """Describe the cells of chunks, in their order. One run at a time."""
        done: dict[Hashable, Description] = {}
        following = 0
        for key, description in self.run(ChunkInbox(chunks, embed=self.embeds)):
            done[key] = description
            while following in done:
                yield done.pop(following)
                following += 1

    def run(self, inbox: Inbox) -> Iterator[tuple[Hashable, Description]]:
        """Describe what comes into an inbox until no more will come. One run at a time.

        Yields:
            Key and description of each cell, in the order in which they are finished.

        Raises:
            EngineError: The engine fails for the first few cells, so it is at fault, not they.
        """
        prompts = _Prompts(inbox, self)
        outcomes = self._search.run(prompts)
        while True:
            with self.engines.exclusive():
                following = next(outcomes, None)
            if following is None:
                return
            key, outcome = following
            yield key, self._finish(*prompts.pop(key), outcome)

    def write(self, vectors: Float32) -> str | None:
        """The text of cell vectors [K, D], which need not be one cell's; None if none is written.

        Raises:
            EngineError: The engine has failed for the first few, so it is at fault, not they.
        """
        text: str | None = None
        with self.engines.exclusive():
            outcomes = list(self._search.run(FixedCells([PromptedCell(0, vectors)])))
        for _, outcome in outcomes:
            if isinstance(outcome, GenerationFailure):
                self._decoder_watch.failed(outcome.error)
                continue
            self._decoder_watch.worked()
            with contextlib.suppress(BundleError):
                text = decode_text(self._tokenizer, outcome.token_ids)
        return text

    def _finish(
        self,
        cell: WaitingCell,
        embedding: Float32 | None,
        outcome: GeneratedSequence | GenerationFailure,
    ) -> Description:
        since = time.perf_counter()
        if isinstance(outcome, GenerationFailure):
            if outcome.cause == "decoder":
                self._decoder_watch.failed(outcome.error)
            return replace(_without_text(cell, outcome, self._mark), embedding=embedding)
        self._decoder_watch.worked()
        try:
            text = decode_text(self._tokenizer, outcome.token_ids)
        except BundleError as error:
            failure = GenerationFailure(error.problem, cause="decoder")
            return replace(_without_text(cell, failure, self._mark), embedding=embedding)
        ids, probabilities = outcome.token_ids, outcome.probabilities
        ended = bool(ids) and ids[-1] in self._end
        if ended:
            ids, probabilities = ids[:-1], probabilities[:-1]
        fields = self._read_fields(text, ids, probabilities, whole=ended or not self._end)
        cell_type, mark = fields.get("cell_type"), self._mark
        of_type = cell_type.confidence if cell_type else None
        description = Description(
            cell=cell.name,
            text=text,
            confidence=text_confidence(probabilities),
            cell_type_confidence=of_type,
            genes_used=cell.genes_used,
            error=None,
            cell_type_probability=None if mark is None else mark.probability(of_type),
            unsure=None if mark is None else mark.is_unsure(of_type),
            tokens=outcome.token_ids,
            steps=outcome.steps,
            fields=fields,
            embedding=embedding,
        )
        self.clock.add("text", since)
        self.clock.count("cells")
        self.clock.count("tokens", len(outcome.token_ids))
        return description

    def _read_fields(
        self, text: str, token_ids: Sequence[int], probabilities: Sequence[float], *, whole: bool
    ) -> Fields:
        """The fields of a text; where none is found, its tokens are not looked at."""
        ends: list[int] | None = None

        def confidence(spans: Sequence[tuple[int, int]]) -> float | None:
            nonlocal ends
            if ends is None:
                ends = byte_token_ends(text, token_ids, self._tokenizer)
            if ends is None:
                ends = token_ends(text, token_ids, self._begun)
            return span_confidence(spans, ends, probabilities)

        return self._fields.read(text, confidence, whole=whole)

    def _begun(self, token_ids: Sequence[int]) -> str:
        """The beginning of a text."""
        return decode_text(self._tokenizer, token_ids, whole=False)


class _Prompts:
    """Cells of an inbox with their cell vectors, made when the search has room for them."""

    def __init__(self, inbox: Inbox, worker: Worker) -> None:
        self._inbox = inbox
        self._worker = worker
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
            cells = self._inbox.take_urgent(self._worker.batch_size)
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
            window = self._inbox.take(WINDOW_BATCHES * self._worker.batch_size, wait=wait)
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
        """Sort cells by length into batches; those that the encoder cannot take are ready."""
        spec = self._worker.gene_input
        good: list[WaitingCell] = []
        for cell in window:
            self._cells[cell.key] = cell
            problem = cell.error or check_tokens(
                cell.tokens, vocabulary=spec.vocabulary_size, longest=spec.input_size
            )
            if problem is None:
                good.append(cell)
            else:
                ready.append((cell.key, GenerationFailure(problem, "cell")))
        groups = equal_lengths([cell.tokens for cell in good], self._worker.batch_size)
        return [[good[index] for index in group] for group in groups]

    def _encode(self, cells: list[WaitingCell], ready: deque[PromptedCell | Outcome]) -> None:
        """Compute cell vectors of a batch; one that fails is tried again cell by cell."""
        worker = self._worker
        try:
            tokens = np.stack([cell.tokens for cell in cells]).astype(np.int32, copy=False)
            encoder = worker.engines.encoder
            hidden: Float32 | None = None
            if any(cell.embed for cell in cells):
                vectors, hidden = encoder.encode_with_hidden(tokens)
            else:
                vectors = encoder.encode(tokens)
        except C2TError as error:
            if len(cells) == 1:
                worker.encoder_watch.failed(error.problem)
                failure = GenerationFailure(error.problem, "encoder")
                ready.append((cells[0].key, failure))
            else:
                for cell in cells:
                    self._encode([cell], ready)
            return
        worker.encoder_watch.worked()
        for place, (cell, of_cell) in enumerate(zip(cells, vectors, strict=True)):
            ready.append(PromptedCell(cell.key, of_cell))
            if cell.embed and hidden is not None:
                embedding = embedding_of(cell.tokens, hidden[place], worker.gene_input)
                self._embeddings[cell.key] = embedding


class _EngineWatch:
    """Says when an engine is broken: it failed for the first cells, and never worked."""

    def __init__(self) -> None:
        self._has_worked = False
        self._failures = 0

    def worked(self) -> None:
        """The engine did its work for a cell."""
        self._has_worked = True

    def failed(self, error: str) -> None:
        """The engine failed for a cell.

        Raises:
            EngineError: It has failed for the first few cells, and never worked.
        """
        self._failures += 1
        if not self._has_worked and self._failures >= FAILURES_AT_START:
            problem = f"the first {self._failures} cells all failed: {error}"
            raise EngineError(problem, hint="run `c2t doctor`")


def cache_capacity(manifest: Manifest, generation: Generation, *, draft: int = 0) -> int:
    """Cache positions of the longest prompt, its text and, as far as there is room, a draft.

    Args:
        manifest: Says how many positions the decoder has.
        generation: The settings in force.
        draft: Most tokens of a draft.

    Raises:
        EngineError: The decoder has too few positions for prompt and text.
    """
    capacity = manifest.text_capacity(generation.max_new_tokens)
    return min(capacity + draft, manifest.decoder.max_positions)


def _numbered(chunks: Iterable[EncodedCells], embed: bool) -> Iterator[WaitingCell]:
    key = 0
    for chunk in chunks:
        for name, tokens, used, error in zip(
            chunk.ids, chunk.tokens, chunk.genes_used, chunk.errors, strict=True
        ):
            yield WaitingCell(key, str(name), tokens, int(used), error, embed)
            key += 1


def _without_text(
    cell: WaitingCell, failure: GenerationFailure, mark: UnsureMark | None
) -> Description:
    return Description(
        cell=cell.name,
        text=None,
        confidence=None,
        cell_type_confidence=None,
        genes_used=cell.genes_used,
        error=failure.error,
        unsure=None if mark is None else True,
        engine_failed=failure.cause != "cell",
    )
