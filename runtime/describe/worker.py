"""Everything that one thread needs to turn encoded cells into descriptions.

One decision: nothing is done ahead. A search takes its next cell when it has room for one, and only
then are more cells read and run through the encoder. So memory holds one window of cells and one
batch, however long the file is, and stopping early stops everything.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Generation, Manifest
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.confidence import span_confidence, text_confidence
from c2t.runtime.describe.decoded_texts import DecodedTexts
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.engine_watch import EngineWatch
from c2t.runtime.describe.inbox import ChunkInbox, Inbox, WaitingCell
from c2t.runtime.describe.prompted_inbox import PromptedInbox
from c2t.runtime.describe.unsure import UnsureMark
from c2t.runtime.describe.written_text import WrittenText
from c2t.runtime.engine_protocol import Engines, Float32
from c2t.runtime.fields.reader import FieldReader, Fields
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.drafts import DraftSource
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.sequence import (
    FixedCells,
    GeneratedSequence,
    GenerationFailure,
    PromptedCell,
)
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.system.errors import BundleError
from c2t.runtime.system.timing import StageClock


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
        self.embeds = embeds
        self.encoder_watch, self._decoder_watch = EngineWatch(), EngineWatch()
        self._texts = DecodedTexts(bundle.tokenizer)
        self._fields = fields
        self._end = frozenset(generation.eos_token_ids)
        decoder = engines.decoder
        self._manifest, self._prompts = bundle.manifest, bundle_prompts(bundle)
        prompts = self._prompts.runner(decoder, clock)
        longest_draft = drafter.longest if drafter else 0
        capacity = cache_capacity(bundle.manifest, generation, draft=longest_draft)
        strings = generation.stop_strings
        stops = StopStrings(strings, bundle.tokenizer) if strings else None
        self._search: GreedySearch | BeamSearch
        if generation.num_beams > 1:
            self._search = BeamSearch(
                decoder,
                prompts,
                generation=generation,
                capacity=capacity,
                stops=stops,
                clock=clock,
            )
        else:
            self._search = GreedySearch(
                decoder,
                prompts,
                generation=generation,
                rows=batch_size,
                capacity=capacity,
                drafter=drafter,
                stops=stops,
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
        prompts = PromptedInbox(
            inbox,
            self.engines,
            self._prompts,
            self._manifest,
            batch_size=self.batch_size,
            watch=self.encoder_watch,
        )
        outcomes = self._search.run(prompts)
        while True:
            with self.engines.exclusive():
                following = next(outcomes, None)
            if following is None:
                return
            key, outcome = following
            yield key, self._finish(*prompts.pop(key), outcome)

    def write(self, vectors: Float32, *, name: str = "") -> str | None:
        """The text of cell vectors [K, D], which need not be one cell's; None if none is written.

        Args:
            vectors: The vectors.
            name: Of the text, see `c2t.runtime.generation.drawn_choices`.

        Raises:
            EngineError: The engine has failed for the first few, so it is at fault, not they.
        """
        cell = PromptedCell(0, self._prompts.of_vectors(vectors), name)
        ((_, written),) = self.texts([cell])
        return written.text

    def texts(self, cells: Iterable[PromptedCell]) -> Iterator[tuple[Hashable, WrittenText]]:
        """The texts behind given prompts, in the order in which they are finished.

        Raises:
            EngineError: The engine has failed for the first few, so it is at fault, not they.
        """
        outcomes = self._search.run(FixedCells(cells))
        while True:
            with self.engines.exclusive():
                following = next(outcomes, None)
            if following is None:
                return
            key, outcome = following
            yield key, self._written(outcome)

    def _written(self, outcome: GeneratedSequence | GenerationFailure) -> WrittenText:
        if isinstance(outcome, GenerationFailure):
            self._decoder_watch.failed(outcome.error)
            return WrittenText(text=None, confidence=None, error=outcome.error, engine_failed=True)
        self._decoder_watch.worked()
        try:
            text = self._texts.text(outcome.token_ids)
        except BundleError as error:
            return WrittenText(text=None, confidence=None, error=error.problem, engine_failed=True)
        probabilities = outcome.probabilities
        ended = bool(outcome.token_ids) and outcome.token_ids[-1] in self._end
        self.clock.count("cells")
        self.clock.count("tokens", len(outcome.token_ids))
        return WrittenText(
            text=text,
            confidence=text_confidence(probabilities[:-1] if ended else probabilities),
            error=None,
            tokens=outcome.token_ids,
            steps=outcome.steps,
            whole=ended or outcome.stopped,
        )

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
            text = self._texts.text(outcome.token_ids)
        except BundleError as error:
            failure = GenerationFailure(error.problem, cause="decoder")
            return replace(_without_text(cell, failure, self._mark), embedding=embedding)
        ids, probabilities = outcome.token_ids, outcome.probabilities
        ended = bool(ids) and ids[-1] in self._end
        if ended:
            ids, probabilities = ids[:-1], probabilities[:-1]
        whole = ended or outcome.stopped or not self._end
        fields = self._read_fields(text, ids, probabilities, whole=whole)
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
        self,
        text: str,
        token_ids: tuple[int, ...],
        probabilities: Sequence[float],
        *,
        whole: bool,
    ) -> Fields:
        """The fields of a text; where none is found, its tokens are not looked at."""

        def confidence(spans: Sequence[tuple[int, int]]) -> float | None:
            return span_confidence(spans, self._texts.ends(text, token_ids), probabilities)

        return self._fields.read(text, confidence, whole=whole)


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
