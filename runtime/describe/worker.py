"""One lane of describing: everything that one thread needs to turn cells into descriptions.

One decision: everything is a chain of generators that the consumer pulls, so memory holds one chunk
of cells and one working batch however long the file is, and stopping early stops everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.gene_embedding.embed import GeneEmbeddingTables
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.describe.cell_vectors import (
    CellVectorizer,
    GeneTokenArray,
    check_tokens,
    equal_lengths,
    error_text,
)
from c2t.runtime.describe.confidence import cell_type_confidence, text_confidence
from c2t.runtime.describe.description import Cells, Description
from c2t.runtime.engine_protocol import Engines
from c2t.runtime.engines.cpu.encoder import BundleFiles
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import GeneratedSequence, GenerationFailure, PromptedCell
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

T = TypeVar("T")
# When the first cells all fail in an engine, it is the engine's fault, not the cells'.
FAILURES_AT_START = 3
# Cells that are sorted into batches of equal length at a time, in working batches.
WINDOW_BATCHES = 4


class DescribableBundle(BundleFiles, Protocol):
    """The parts of a bundle that describing needs."""

    @property
    def gene_embedding_tables(self) -> GeneEmbeddingTables: ...  # noqa: D102 - the name says it
    @property
    def tokenizer(self) -> Any: ...  # noqa: D102 - the name says it


@dataclass(frozen=True)
class _Cell:
    """A cell on its way: what its description will carry besides the text."""

    key: int  # position in the run
    name: str
    genes_used: int
    tokens: GeneTokenArray


class Lane:
    """Describes cells in one thread; several lanes may share the weights of their engines.

    Args:
        bundle: The bundle.
        engines: The lane's own engines.
        generation: The settings in force.
        batch_size: Cells that are written at the same time.
        threads: Threads of the embedding kernel; None: all cores.
        drafter: The lane's own drafter, if there is one.
        clock: Records the stages.

    Raises:
        EngineError: Settings that the decoder cannot hold.
    """

    def __init__(
        self,
        bundle: DescribableBundle,
        engines: Engines,
        generation: Generation,
        *,
        batch_size: int,
        threads: int | None,
        drafter: Drafter | None,
        clock: StageClock,
    ) -> None:
        self.engines = engines
        self.clock = clock
        self._batch_size = batch_size
        self._tokenizer = bundle.tokenizer
        self._end = frozenset(generation.eos_token_ids)
        self._gene_input = bundle.manifest.gene_input
        self._vectorizer = CellVectorizer(
            engines.encoder, bundle.gene_embedding_tables, threads=threads, clock=clock
        )
        decoder = engines.decoder
        prompts = PromptRunner(decoder, bundle.manifest.prompt, clock)
        capacity = _capacity(bundle, prompts, generation, drafter.longest if drafter else 0)
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
                slots=batch_size,
                capacity=capacity,
                drafter=drafter,
                clock=clock,
            )
        self._encoder_watch, self._decoder_watch = _Watch(), _Watch()

    def describe(self, chunks: Iterable[Cells]) -> Iterator[Description]:
        """Describe cells in their order; one run at a time."""
        on_the_way: dict[int, _Cell] = {}
        done: dict[int, Description] = {}
        following = 0
        prompted = self._prompted(chunks, on_the_way, done)
        for key, result in self._search.run(prompted):
            done[key] = self._finish(on_the_way.pop(key), result)
            while following in done:
                yield done.pop(following)
                following += 1
        while following in done:
            yield done.pop(following)
            following += 1

    def _prompted(
        self, chunks: Iterable[Cells], on_the_way: dict[int, _Cell], done: dict[int, Description]
    ) -> Iterator[PromptedCell]:
        """Cells with their vectors; a cell that fails before goes to `done`."""
        for window in _windows(self._good_cells(chunks, done), WINDOW_BATCHES * self._batch_size):
            groups = equal_lengths([c.tokens for c in window], self._batch_size)
            for group in groups:
                for cell, vectors in self._vectors([window[i] for i in group], done):
                    on_the_way[cell.key] = cell
                    yield PromptedCell(cell.key, vectors)

    def _good_cells(self, chunks: Iterable[Cells], done: dict[int, Description]) -> Iterator[_Cell]:
        """Cells that the encoder can take, numbered from 0."""
        key = -1
        spec = self._gene_input
        for chunk in chunks:
            for name, tokens, used, error in zip(
                chunk.ids, chunk.tokens, chunk.genes_used, chunk.errors, strict=True
            ):
                key += 1
                cell = _Cell(key, str(name), int(used), tokens)
                problem = error or check_tokens(
                    tokens, vocabulary=spec.vocabulary_size, longest=spec.input_size
                )
                if problem is None:
                    yield cell
                else:
                    done[key] = _failed(cell, problem)

    def _vectors(
        self, cells: list[_Cell], done: dict[int, Description]
    ) -> Iterator[tuple[_Cell, NDArray[np.float32]]]:
        """Cell vectors of cells of equal length; a failing batch is tried again cell by cell."""
        try:
            vectors = self._vectorizer.encode([cell.tokens for cell in cells])
        except MemoryError:
            raise
        except Exception as error:
            if len(cells) == 1:
                self._encoder_watch.failed(error)
                done[cells[0].key] = _failed(cells[0], error_text(error), engine=True)
                return
            for cell in cells:
                yield from self._vectors([cell], done)
            return
        self._encoder_watch.worked()
        yield from zip(cells, vectors, strict=True)

    def _finish(self, cell: _Cell, result: GeneratedSequence | GenerationFailure) -> Description:
        since = time.perf_counter()
        if isinstance(result, GenerationFailure):
            self._decoder_watch.failed(EngineError(result.error))
            return _failed(cell, result.error, engine=True)
        self._decoder_watch.worked()
        text = self._decode(result.token_ids)
        ids, probabilities = result.token_ids, result.probabilities
        if ids and ids[-1] in self._end:
            ids, probabilities = ids[:-1], probabilities[:-1]
        description = Description(
            cell=cell.name,
            text=text,
            confidence=text_confidence(probabilities),
            cell_type_confidence=cell_type_confidence(text, ids, probabilities, self._decode),
            genes_used=cell.genes_used,
            error=None,
            tokens=result.token_ids,
            steps=result.steps,
        )
        self.clock.add("text", since)
        self.clock.count("cells")
        self.clock.count("tokens", len(result.token_ids))
        return description

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))


class _Watch:
    """Tells an engine that fails for every cell from cells that an engine fails for."""

    def __init__(self) -> None:
        self._has_worked = False
        self._failures = 0

    def worked(self) -> None:
        """The engine did its work for a cell."""
        self._has_worked = True

    def failed(self, error: Exception) -> None:
        """The engine failed for a cell; an error if nothing but failures came out of it so far."""
        self._failures += 1
        if not self._has_worked and self._failures >= FAILURES_AT_START:
            problem = f"the first {self._failures} cells all failed: {error_text(error)}"
            raise EngineError(problem, hint="run `c2t doctor`") from error


def _capacity(
    bundle: DescribableBundle, prompts: PromptRunner, generation: Generation, draft: int
) -> int:
    """Cache slots for the longest prompt, its text and, as far as there are positions, a draft.

    Raises:
        EngineError: More than the decoder has positions.
    """
    prompt = prompts.length(bundle.manifest.projector.vectors)
    capacity = prompt + generation.max_new_tokens
    most = bundle.manifest.decoder.max_positions
    if capacity > most:
        problem = f"a prompt of {prompt} and {generation.max_new_tokens} new tokens exceed {most}"
        raise EngineError(problem, hint=f"give a max_new_tokens of at most {most - prompt}")
    return min(capacity + draft, most)


def _failed(cell: _Cell, error: str, *, engine: bool = False) -> Description:
    return Description(
        cell=cell.name,
        text=None,
        confidence=None,
        cell_type_confidence=None,
        genes_used=cell.genes_used,
        error=error,
        engine_failed=engine,
    )


def _windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window
