"""Cells in, descriptions out, in the order of the cells.

One decision: everything is a chain of generators that the consumer pulls, so memory holds one chunk
of cells and one working batch however long the file is, and stopping early stops everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.gene_embedding import GeneEmbeddingTables
from c2t.runtime.cell_vectors import (
    CellVectorizer,
    GeneTokenArray,
    check_tokens,
    equal_lengths,
    error_text,
)
from c2t.runtime.confidence import cell_type_confidence, text_confidence
from c2t.runtime.engine import EngineOptions
from c2t.runtime.errors import C2TError, EngineError
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import PHRASES_NAME, load_phrase_table
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import GeneratedSequence, GenerationFailure, PromptedCell
from c2t.runtime.manifest import Generation
from c2t.runtime.onnxruntime_engine import BundleFiles, open_engines
from c2t.runtime.stages import Profile, StageClock, profile

T = TypeVar("T")
# When the first cells all fail in an engine, it is the engine's fault, not the cells'.
FAILURES_AT_START = 3


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """How cells are described; None takes the bundle's own setting.

    Args:
        max_new_tokens: Longest text, in text tokens.
        num_beams: 1 is greedy search.
        no_repeat_ngram_size: 0 bans nothing.
        threads: Threads of the engine; None: all cores.
        batch_size: Cells that are written at the same time (greedy search), and the most cells of
            equal length that the encoder takes at once.
        drafts: Verify drafts from the bundle's phrase table, if it has one: the same text in fewer
            steps. Greedy search only.
        prepack: See `c2t.runtime.engine.EngineOptions`.
    """

    max_new_tokens: int | None = None
    num_beams: int | None = None
    no_repeat_ngram_size: int | None = None
    threads: int | None = None
    batch_size: int = 8
    drafts: bool = True
    prepack: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the model says of one cell.

    Args:
        cell: The cell's id.
        text: None where there is an error.
        confidence: Mean probability of the text's tokens; None where there is no text.
        cell_type_confidence: The same of the words that name the cell type; None where the text
            names none.
        genes_used: Genes that the encoder saw.
        error: Why there is no text; None where there is one.
        tokens: Text tokens, the EOS token included.
        steps: Decoder runs that wrote them.
    """

    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    tokens: tuple[int, ...] = ()
    steps: int = 0


class Cells(Protocol):
    """A run of cells, encoded by rank value."""

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def tokens(self) -> Sequence[GeneTokenArray]: ...  # noqa: D102
    @property
    def genes_used(self) -> Any: ...  # noqa: D102
    @property
    def errors(self) -> Sequence[str | None]: ...  # noqa: D102


class CellSource(Protocol):
    """A reader of cells."""

    def chunks(self) -> Iterator[Cells]: ...  # noqa: D102


class DescribableBundle(BundleFiles, Protocol):
    """The parts of a bundle that describing needs."""

    @property
    def gene_embedding_tables(self) -> GeneEmbeddingTables: ...  # noqa: D102
    @property
    def token_embedding(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def tokenizer(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class _Cell:
    """A cell on its way: what its description will carry besides the text."""

    key: int  # position in the run
    name: str
    genes_used: int
    tokens: GeneTokenArray


class Describer:
    """A bundle with its engines opened and its prompt's prefix computed.

    Args:
        bundle: The bundle.
        options: How to describe.

    Attributes:
        generation: The settings in force.
        clock: Times of the stages so far.

    One `describe` runs at a time: its cells share the engines' buffers.

    Raises:
        EngineError: No engine, or settings that the decoder cannot hold.
    """

    def __init__(self, bundle: DescribableBundle, options: DescribeOptions | None = None) -> None:
        self.options = options or DescribeOptions()
        self.generation = generation_settings(bundle.manifest.generation, self.options)
        self.clock = StageClock()
        since = time.perf_counter()
        self.engines = open_engines(
            bundle,
            EngineOptions(threads=self.options.threads, prepack=self.options.prepack),
            self.clock,
        )
        self._tokenizer = bundle.tokenizer
        self._end = frozenset(self.generation.eos_token_ids)
        self._gene_input = bundle.manifest.gene_input
        self._vectorizer = CellVectorizer(
            self.engines.encoder,
            bundle.gene_embedding_tables,
            threads=self.options.threads,
            clock=self.clock,
        )
        prompts = PromptRunner(
            self.engines.decoder, bundle.manifest.prompt, bundle.token_embedding, self.clock
        )
        drafter = self._drafter(bundle)
        capacity = _capacity(bundle, prompts, self.generation, drafter.longest if drafter else 0)
        self._search: GreedySearch | BeamSearch
        if self.generation.num_beams > 1:
            self._search = BeamSearch(
                self.engines.decoder,
                prompts,
                bundle.token_embedding,
                generation=self.generation,
                capacity=capacity,
                clock=self.clock,
            )
        else:
            self._search = GreedySearch(
                self.engines.decoder,
                prompts,
                bundle.token_embedding,
                generation=self.generation,
                slots=self.options.batch_size,
                capacity=capacity,
                drafter=drafter,
                clock=self.clock,
            )
        self._encoder_watch, self._decoder_watch = _Watch(), _Watch()
        self.clock.add("open", since)

    def describe(self, cells: CellSource | Iterable[Cells]) -> Iterator[Description]:
        """Describe cells.

        Args:
            cells: A cell reader, or chunks of encoded cells.

        Yields:
            One description a cell, in the order of the cells. What is wrong with one cell stands
            in its description and does not stop the others.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for cells as such.
        """
        chunks: Iterable[Cells] = cells.chunks() if hasattr(cells, "chunks") else cells
        self.clock.mark("begin")
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

    def profile(self) -> Profile:
        """What the work so far cost, stage by stage."""
        return profile(self.clock)

    def _prompted(
        self, chunks: Iterable[Cells], on_the_way: dict[int, _Cell], done: dict[int, Description]
    ) -> Iterator[PromptedCell]:
        """Cells with their vectors; a cell that fails before goes to `done`."""
        for window in _windows(self._good_cells(chunks, done), 4 * self.options.batch_size):
            groups = equal_lengths([c.tokens for c in window], self.options.batch_size)
            for group in groups:
                for cell, vectors in self._vectors([window[i] for i in group], done):
                    on_the_way[cell.key] = cell
                    yield PromptedCell(cell.key, vectors)

    def _good_cells(self, chunks: Iterable[Cells], done: dict[int, Description]) -> Iterator[_Cell]:
        """Cells that the encoder can take, numbered from 0."""
        key = -1
        spec = self._gene_input
        for chunk in self.clock.iterate("read", chunks):
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
                done[cells[0].key] = _failed(cells[0], error_text(error))
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
            return _failed(cell, result.error)
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

    def _drafter(self, bundle: DescribableBundle) -> Drafter | None:
        """A drafter over the bundle's phrase table; None without one, or where it is of no use."""
        wanted = self.options.drafts and self.generation.num_beams == 1
        if not wanted or PHRASES_NAME not in bundle.manifest.files:
            return None
        vocabulary = bundle.manifest.decoder.vocabulary_size
        table = load_phrase_table(bundle.file(PHRASES_NAME), vocabulary)
        return Drafter(table) if table.states > 1 else None

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


def generation_settings(defaults: Generation, options: DescribeOptions) -> Generation:
    """The bundle's settings with the caller's in their place.

    Raises:
        C2TError: A number that is too small.
    """
    generation = defaults
    if options.max_new_tokens is not None:
        generation = replace(generation, max_new_tokens=options.max_new_tokens)
    if options.num_beams is not None:
        generation = replace(generation, num_beams=options.num_beams)
    if options.no_repeat_ngram_size is not None:
        generation = replace(generation, no_repeat_ngram_size=options.no_repeat_ngram_size)
    for name, value, least in (
        ("max_new_tokens", generation.max_new_tokens, 1),
        ("num_beams", generation.num_beams, 1),
        ("no_repeat_ngram_size", generation.no_repeat_ngram_size, 0),
        ("batch_size", options.batch_size, 1),
    ):
        if value < least:
            problem = f"{name} is {value}"
            raise C2TError(problem, hint=f"give a number of at least {least}")
    return generation


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


def _failed(cell: _Cell, error: str) -> Description:
    return Description(
        cell=cell.name,
        text=None,
        confidence=None,
        cell_type_confidence=None,
        genes_used=cell.genes_used,
        error=error,
    )


def _windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window
