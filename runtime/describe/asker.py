"""A question to a bundle, about each cell or about each group of cells.

Two decisions. Whatever a cell becomes, vectors or genes by name, the question is put beside it
here, so that no other part of c2t knows questions. And a group is asked about once: as the mean of
its cells' vectors, or as several cells in one prompt where the template has a place for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.template import (
    cell_lines,
    fill_template,
    opens_thought,
    template_fields,
)
from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray
from c2t.runtime.cells.inputs.named_genes import NamedGenes
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import check_tokens
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.group_mean import EncodedCell
from c2t.runtime.describe.in_order import in_order
from c2t.runtime.describe.mean_text import group_tokens
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.describe.question import Question, text_parts
from c2t.runtime.describe.worker import Worker
from c2t.runtime.describe.written_text import WrittenText
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.prompt import CellPrompt
from c2t.runtime.generation.sequence import PromptedCell
from c2t.runtime.system.errors import C2TError, EngineError

# Cells of one prompt: CellPuzzles have up to 15.
CELLS_OF_PROMPT_MAX = 64
TOGETHER = "together"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says.

    Args:
        name: The cell's id, or what the group is called.
        cells: How many cells the prompt was made of: of a group that is read as its mean, at most
            `CELLS_OF_MEAN`, and none that cannot be read. 0 without a prompt.
        group_cells: How many cells the group has; of a cell 1.
        text: What it wrote; None where there is an error.
        answer: Its answer, see `c2t.runtime.describe.question.text_parts`; None: it has none.
        confidence: Mean probability of the text's tokens.
        error: Why there is no text.
        whole: Whether the text ended of itself or with a stop string, not at the longest length.
        tokens: Text tokens, the EOS token included.
        engine_failed: Whether the error is one of the engine.
        thought: What it thought before it answered; None: nothing.
    """

    name: str
    cells: int
    group_cells: int
    text: str | None
    answer: str | None
    confidence: float | None
    error: str | None
    whole: bool = False
    tokens: tuple[int, ...] = ()
    engine_failed: bool = False
    thought: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """What one answer is about: a cell, or the cells of a group.

    Args:
        name: Of the answer.
        cells: How many cells there are.
        tokens: Of those that the prompt is made of, [S] each.
        error: Why there is no prompt.
    """

    name: str
    cells: int
    tokens: tuple[GeneTokenArray, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prompted:
    """A prompt, or why there is none.

    Args:
        prompt: The prompt.
        cells: How many cells it was made of.
        error: Why there is none.
        engine_failed: Whether the error is one of the engine.
    """

    prompt: CellPrompt | None = None
    cells: int = 0
    error: str | None = None
    engine_failed: bool = False


class Asker:
    """Asks one question; threads may share it.

    Args:
        describer: Writes the answers, with its settings.
        bundle: The describer's.
        question: What is asked.

    Raises:
        C2TError: See `Question.check`.
    """

    def __init__(self, describer: Describer, bundle: Bundle, question: Question) -> None:
        question.check(bundle)
        self._describer, self._bundle, self._question = describer, bundle, question
        self._sentence = bundle.manifest.gene_sentence
        self._prompts = bundle_prompts(bundle, question.values)

    def ask(self, reader: CellReader) -> Iterator[Answer]:
        """Ask about each cell, in their order.

        Args:
            reader: Opened with `named`.

        Raises:
            C2TError: The bundle's prompt is one of several cells.
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for all of the first cells.
        """
        return self.ask_cells(reader.chunks(), reader.gene_input)

    def ask_cells(self, chunks: Iterable[EncodedCells], gene_input: object) -> Iterator[Answer]:
        """The same of cells that are read already.

        Args:
            chunks: Of a reader that was opened with `named`.
            gene_input: The reader's.

        Raises:
            C2TError: See `ask`.
            EngineError: See `ask`.
        """
        check_grouping(self._bundle, grouped=False)
        asked = (
            _Asked(name=str(name), cells=1, tokens=(tokens,), error=error)
            for chunk in chunks
            for name, tokens, error in zip(chunk.ids, chunk.tokens, chunk.errors, strict=True)
        )
        return self._answers(asked, gene_input)

    def ask_together(self, cells: EncodedCells, gene_input: object) -> Iterator[Answer]:
        """Ask about cells that are read already as about one group, called "together".

        Args:
            cells: Of a reader that was opened with `named`.
            gene_input: The reader's.

        Raises:
            C2TError: The bundle's prompt has place for one cell only.
            EngineError: See `ask`.
        """
        check_grouping(self._bundle, grouped=True)
        wrong = [
            f"its cell {name}: {error}"
            for name, error in zip(cells.ids, cells.errors, strict=True)
            if error
        ]
        tokens = tuple(t for t, error in zip(cells.tokens, cells.errors, strict=True) if not error)
        error = wrong[0] if wrong and (self._sentence is not None or not tokens) else None
        asked = _Asked(name=TOGETHER, cells=len(cells), tokens=tokens, error=error)
        return self._answers([asked], gene_input)

    def ask_groups(
        self, reader: CellReader, groups: Iterable[tuple[str, Sequence[int]]]
    ) -> Iterator[Answer]:
        """Ask about each group, in their order.

        Args:
            reader: Opened with `named`.
            groups: The name of each, and the places of its cells among the reader's, increasing.

        Raises:
            C2TError: The bundle's prompt has place for one cell only.
            CellFileError: The file cannot be read further.
            EngineError: The engine fails for all of the first groups.
        """
        check_grouping(self._bundle, grouped=True)
        asked = (self._group(reader, name, places) for name, places in groups)
        return self._answers(asked, reader.gene_input)

    def _group(self, reader: CellReader, name: str, places: Sequence[int]) -> _Asked:
        """Read the cells of a group."""
        count = len(places)
        if self._sentence is None:
            tokens = group_tokens(reader, places, self._describer.limits)
            return _Asked(name=name, cells=count, tokens=tuple(tokens))
        if count > CELLS_OF_PROMPT_MAX:
            error = f"the group has {count:,} cells; a prompt takes {CELLS_OF_PROMPT_MAX}"
            return _Asked(name=name, cells=count, error=error)
        tokens = []
        for place in places:
            (cell,) = reader.chunks(place, place + 1)
            if cell.errors[0]:  # the cells behind it would have other numbers than in the file
                error = f"its cell {cell.ids[0]}: {cell.errors[0]}"
                return _Asked(name=name, cells=count, error=error)
            tokens.append(cell.tokens[0])
        return _Asked(name=name, cells=count, tokens=tuple(tokens))

    def _answers(self, asked: Iterable[_Asked], gene_input: object) -> Iterator[Answer]:
        """Answers in order, written by as many threads as the describer has."""

        def work(piece: list[_Asked]) -> list[Answer]:
            with self._describer.worker() as worker:
                return self._write(piece, gene_input, worker)

        size = WINDOW_BATCHES * self._describer.options.batch_size
        pieces = in_order(work, _pieces(asked, size), self._describer.most_workers)
        worked = False
        for piece in pieces:
            worked = worked or any(not answer.engine_failed for answer in piece)
            if not worked:
                problem = f"nothing could be asked: {piece[0].error}"
                raise EngineError(problem, hint="run `c2t doctor`")
            yield from piece

    def _write(self, asked: list[_Asked], gene_input: object, worker: Worker) -> list[Answer]:
        """The answers of one piece."""
        answers: dict[int, Answer] = {}
        if isinstance(gene_input, NamedGenes):
            prompts = [self._of_genes(each, gene_input) for each in asked]
        else:
            prompts = self._of_vectors(asked, worker)
        cells: list[PromptedCell] = []
        for place, (each, made) in enumerate(zip(asked, prompts, strict=True)):
            if made.prompt is None:
                answers[place] = _without_text(each, made)
            else:
                cells.append(PromptedCell(place, made.prompt, each.name))
        for key, written in worker.texts(cells):
            assert isinstance(key, int)
            answers[key] = self._answer(asked[key], prompts[key], written)
        return [answers[place] for place in range(len(asked))]

    def _answer(self, asked: _Asked, made: _Prompted, written: WrittenText) -> Answer:
        manifest = self._bundle.manifest
        parts = text_parts(
            written.text or "",
            opened=opens_thought(manifest.template),
            plain=manifest.plain_answers,
            whole=written.whole,
        )
        return Answer(
            name=asked.name,
            cells=made.cells,
            group_cells=asked.cells,
            text=written.text,
            answer=parts.answer,
            confidence=written.confidence,
            error=written.error,
            whole=written.whole,
            tokens=written.tokens,
            engine_failed=written.engine_failed,
            thought=parts.thought,
        )

    def _of_genes(self, asked: _Asked, names: NamedGenes) -> _Prompted:
        """The prompt of one cell or several, by the names of their genes; or why there is none."""
        if asked.error is not None:
            return _Prompted(error=asked.error)
        sentence, manifest = names.sentence, self._bundle.manifest
        cells = [names.read(tokens) for tokens in asked.tokens]
        species, genes = cells[0]
        values = {
            "genes": sentence.separator.join(genes),
            "count": str(len(genes)),
            "organism": sentence.organisms[species],
            "cells": cell_lines([genes for _, genes in cells], sentence.separator),
        }
        try:
            (ids,) = fill_template(
                manifest.template, self._bundle.text_encoder, self._question.values | values
            )
        except C2TError as error:
            return _Prompted(error=f"no prompt: {error.problem}")
        return _Prompted(prompt=CellPrompt(np.array(ids, dtype=np.int32)), cells=len(cells))

    def _of_vectors(self, asked: list[_Asked], worker: Worker) -> list[_Prompted]:
        """Prompts with the vectors of each one's cells, or of their mean; or why there is none."""
        limits = self._describer.limits
        places, usable = list[int](), list[GeneTokenArray]()
        errors: dict[int, _Prompted] = {}
        for place, each in enumerate(asked):
            if each.error is not None:
                errors[place] = _Prompted(error=each.error)
                continue
            for tokens in each.tokens:
                if problem := check_tokens(tokens, limits):
                    errors[place] = _Prompted(error=problem)
                else:
                    places.append(place)
                    usable.append(tokens)
        cells: dict[int, list[EncodedCell]] = {}
        mean = self._describer.group_mean
        for index, cell in mean.encoded(worker.engines, usable, worker.batch_size):
            if isinstance(cell, str):
                errors[places[index]] = _Prompted(error=cell, engine_failed=True)
            else:
                cells.setdefault(places[index], []).append(cell)
        nothing = _Prompted(error="no cell of the group can be encoded")
        return [
            self._of_mean(cells[place]) if place in cells else errors.get(place, nothing)
            for place in range(len(asked))
        ]

    def _of_mean(self, cells: list[EncodedCell]) -> _Prompted:
        """The prompt of the mean of one or more cells."""
        try:
            prompt = self._prompts.of_vectors(self._describer.group_mean.of(cells))
        except EngineError as error:
            return _Prompted(error=error.problem, engine_failed=True)
        return _Prompted(prompt=prompt, cells=len(cells))


def check_grouping(bundle: Bundle, *, grouped: bool) -> None:
    """Refuse to ask about groups or cells where the bundle's prompt has no place for them.

    Raises:
        C2TError: It has none.
    """
    several = "cells" in template_fields(bundle.manifest.template)
    if several and not grouped:
        problem = "the bundle's prompt is one of several cells"
        raise C2TError(problem, hint="group them with --group-by: each group is one prompt")
    if grouped and not several and bundle.manifest.gene_sentence is not None:
        problem = "the bundle's prompt has the genes of one cell, not of a group"
        raise C2TError(problem, hint="ask about the cells, without --group-by")


def _without_text(asked: _Asked, made: _Prompted) -> Answer:
    return Answer(
        name=asked.name,
        cells=0,
        group_cells=asked.cells,
        text=None,
        answer=None,
        confidence=None,
        error=made.error,
        engine_failed=made.engine_failed,
    )


def _pieces(asked: Iterable[_Asked], size: int) -> Iterator[list[_Asked]]:
    rest = iter(asked)
    while piece := list(islice(rest, size)):
        yield piece
