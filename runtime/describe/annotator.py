"""Encoded cells in, the probability of each given label out, in the order of the cells.

One decision: nothing is written. The decoder reads each label behind the caption's opening
(`c2t.runtime.generation.scoring`), so labels can be compared that the model would never choose.
Engines and their division into workers are the describer's.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.bundle.tasks import ANNOTATE
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.caption_names import (
    CELL_TYPE,
    caption_names,
    cell_type_place,
    doubts,
)
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths, token_limits
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.in_order import in_order
from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.describe.several_texts import several_texts
from c2t.runtime.describe.worker import cache_capacity
from c2t.runtime.engine_protocol import Engines
from c2t.runtime.engines.table import EngineName
from c2t.runtime.generation.bundle_prompts import BundlePrompts, bundle_prompts
from c2t.runtime.generation.candidate_names import CandidateNames, NamePlace, candidate_names
from c2t.runtime.generation.prompt import CellPrompt
from c2t.runtime.generation.scoring import CandidateScorer, Float64
from c2t.runtime.generation.sequence import NOT_FINITE
from c2t.runtime.system.errors import C2TError, EngineError


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions:
    """How labels are compared.

    Args:
        threads: See `c2t.runtime.describe.describer.DescribeOptions`.
        batch_size: Cells that are scored side by side.
        prepack: See `c2t.runtime.engine_protocol.EngineOptions`.
        engine: One of `EngineName`; "auto" takes the best that works.
        temperature: What log probabilities are divided by before labels are compared; fitted by
            `c2t.runtime.annotate.calibration`.
        place: Where a caption names what the labels name; None: where it names the cell type, by
            the bundle's rules for fields.
    """

    threads: int | None = None
    batch_size: int = 8
    prepack: bool | None = None
    engine: str = EngineName.auto
    temperature: float = 1.0
    place: NamePlace | None = None

    def describing(self) -> DescribeOptions:
        """How to open engines for it."""
        return DescribeOptions(
            threads=self.threads,
            batch_size=self.batch_size,
            num_beams=1,
            drafts=False,
            prepack=self.prepack,
            engine=self.engine,
        )


class Annotator:
    """Compares labels for cells; threads may share it.

    Args:
        describer: Has the engines; made with `options.describing()`.
        bundle: The bundle.
        labels: Different labels, as captions would write them.
        options: How to compare them.

    Attributes:
        labels: The labels.
        names: Their token paths.

    Raises:
        TaskError: The bundle cannot compare labels.
        BundleError: The bundle's captions do not name cell types where labels would be read.
        C2TError: A label that is empty, there twice, too long for the decoder, or that the
            tokenizer cannot write; a temperature that is none.
    """

    def __init__(
        self,
        describer: Describer,
        bundle: Bundle,
        labels: Sequence[str],
        *,
        options: AnnotateOptions | None = None,
    ) -> None:
        bundle.manifest.need_task(ANNOTATE)
        labels = several_texts(labels, "label")
        self.options = options or AnnotateOptions()
        temperature = self.options.temperature
        if not (np.isfinite(temperature) and temperature > 0):
            problem = f"temperature is {temperature}"
            raise C2TError(problem, hint="give a number above 0; 1 changes nothing")
        rules = describer.fields.rules
        place = self.options.place
        listed: Sequence[str] = ()
        if place is None:
            place, listed = cell_type_place(rules), rules.known.get(CELL_TYPE, ())
        self.names: CandidateNames = candidate_names(bundle, labels, place)
        self.labels = self.names.names
        self._known = caption_names(bundle, place, listed)
        self._describer = describer
        self._bundle = bundle
        self._check_length()
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()

    @cached_property
    def doubts(self) -> list[str]:
        """What the user should know about the labels, a sentence each."""
        return doubts(self.names, self._known)

    def annotate(self, cells: CellReader | Iterable[EncodedCells]) -> Iterator[LabelledCell]:
        """Compare the labels for each cell, in the order of the cells.

        Args:
            cells: A cell reader, or chunks of encoded cells.

        Yields:
            One result a cell. A cell that cannot be annotated has an `error`, and does not stop
            the others.

        Raises:
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for every cell of the first batches.
        """
        chunks = cells.chunks() if isinstance(cells, CellReader) else cells
        size = WINDOW_BATCHES * self.options.batch_size
        pieces = (
            chunk[first : first + size] for chunk in chunks for first in range(0, len(chunk), size)
        )
        worked = False
        for piece in self._in_order(pieces):
            worked = worked or any(not cell.engine_failed for cell in piece)
            if not worked and piece:
                problem = f"no cell could be annotated: {piece[0].error}"
                raise EngineError(problem, hint="run `c2t doctor`")
            yield from piece

    def _in_order(self, pieces: Iterable[EncodedCells]) -> Iterator[list[LabelledCell]]:
        """The results of pieces, worked on by as many threads as the describer would use."""
        return in_order(self._annotate, pieces, self._describer.most_workers)

    def _annotate(self, cells: EncodedCells) -> list[LabelledCell]:
        engines = self._describer.engines
        try:
            lane = self._idle.get_nowait()
        except queue.Empty:
            with engines.exclusive():  # the prompt's prefix is run
                lane = self._new_lane(engines.clone())
        try:
            with engines.exclusive():
                return lane.annotate(cells, self.names, self.options.temperature)
        finally:
            self._idle.put(lane)

    def _new_lane(self, engines: Engines) -> _Lane:
        clock = self._describer.clock
        prompts = bundle_prompts(self._bundle)
        runner = prompts.runner(engines.decoder, clock)
        capacity = None
        if engines.fixed_shape:
            capacity = cache_capacity(self._bundle.manifest, self._describer.generation)
        scorer = CandidateScorer(
            engines.decoder,
            runner,
            rows=self.options.batch_size,
            capacity=capacity,
            clock=clock,
        )
        size = self.options.batch_size
        return _Lane(self._bundle.manifest, prompts, engines, scorer, batch_size=size)

    def _check_length(self) -> None:
        trie, manifest = self.names.trie, self._bundle.manifest
        need = manifest.prompt_length + len(trie.opening) + trie.depth
        most = manifest.decoder.max_positions
        if need > most:
            problem = f"the longest label needs {need:,} positions; the decoder has {most:,}"
            raise C2TError(problem, hint="give shorter labels")


class _Lane:
    """What one thread needs: engines over shared weights, and a cache."""

    def __init__(
        self,
        manifest: Manifest,
        prompts: BundlePrompts,
        engines: Engines,
        scorer: CandidateScorer,
        *,
        batch_size: int,
    ) -> None:
        self._limits, self._encodes = token_limits(manifest), manifest.has_encoder
        self._prompts = prompts
        self._engines = engines
        self._scorer = scorer
        self._batch_size = batch_size

    def annotate(
        self, cells: EncodedCells, names: CandidateNames, temperature: float
    ) -> list[LabelledCell]:
        """Score some cells together."""
        errors: dict[int, tuple[str, bool]] = {}  # and whether the engine failed
        good: list[int] = []
        for place, (tokens, error) in enumerate(zip(cells.tokens, cells.errors, strict=True)):
            problem = error or check_tokens(tokens, self._limits)
            if problem:
                errors[place] = (problem, False)
            else:
                good.append(place)
        prompts: dict[int, CellPrompt] = {}
        if self._encodes:
            for group in equal_lengths([cells.tokens[place] for place in good], self._batch_size):
                self._encode(cells, [good[index] for index in group], prompts, errors)
        else:
            prompts = {place: self._prompts.of_tokens(cells.tokens[place]) for place in good}
        scores: dict[int, Float64] = {}
        self._score([place for place in good if place in prompts], prompts, names, scores, errors)
        return [
            LabelledCell(
                cell=str(cells.ids[place]),
                labels=names.names,
                log_probabilities=scores.get(place),
                temperature=temperature,
                genes_used=int(cells.genes_used[place]),
                error=errors[place][0] if place in errors else None,
                engine_failed=place in errors and errors[place][1],
            )
            for place in range(len(cells))
        ]

    def _encode(
        self,
        cells: EncodedCells,
        group: list[int],
        prompts: dict[int, CellPrompt],
        errors: dict[int, tuple[str, bool]],
    ) -> None:
        """Prompts of cells of equal length, by their vectors; if they fail, one by one."""
        tokens = np.stack([cells.tokens[place] for place in group]).astype(np.int32, copy=False)
        try:
            encoded = self._engines.encoder.encode(tokens)
        except C2TError as error:
            if len(group) == 1:
                errors[group[0]] = (error.problem, True)
            else:
                for place in group:
                    self._encode(cells, [place], prompts, errors)
            return
        # The encoder may use its memory again.
        prompts.update(
            (place, self._prompts.of_vectors(of_cell.copy()))
            for place, of_cell in zip(group, encoded, strict=True)
        )

    def _score(
        self,
        places: list[int],
        prompts: dict[int, CellPrompt],
        names: CandidateNames,
        scores: dict[int, Float64],
        errors: dict[int, tuple[str, bool]],
    ) -> None:
        """Log probabilities of cells; if they fail, one by one."""
        if not places:
            return
        try:
            found = names.combine(
                self._scorer.score([prompts[place] for place in places], names.trie)
            )
        except EngineError as error:
            if len(places) == 1:
                errors[places[0]] = (error.problem, True)
            else:
                for place in places:
                    self._score([place], prompts, names, scores, errors)
            return
        for place, of_cell in zip(places, found, strict=True):
            if np.isnan(of_cell).any():
                errors[place] = (NOT_FINITE, True)
            else:
                scores[place] = of_cell
