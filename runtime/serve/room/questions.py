"""Questions about the cells of a request: about each, or about all of them together.

One decision: they take turns with the other analyses of the room. So a long answer slows down no
more than one of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from c2t.runtime.bundle.tasks import ASK
from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.asker import Answer, Asker
from c2t.runtime.describe.question import LABELS_MAX, QUESTION_LETTERS_MAX, Question
from c2t.runtime.describe.text_settings import all_settings
from c2t.runtime.output.record import DIGITS
from c2t.runtime.serve.room.analyses import Analyses, AskedOfFile, CellSource, Unwanted
from c2t.runtime.serve.room.analysis_messages import Label
from c2t.runtime.serve.room.messages import CountedCell, Settings, describe_options

ASKED_MAX = 64  # cells of a request; a file is for `c2t ask`


class AskRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Cells, and a question about them.

    Args:
        cells: Each is asked about.
        question: What to ask.
        labels: What the answer may be chosen from, where the bundle's prompt lists them.
        together: Ask about all cells at once: as one group.
        settings: How to read the counts, and how answers are written.
    """

    cells: Annotated[list[CountedCell], Meta(min_length=1, max_length=ASKED_MAX)]
    question: Annotated[str, Meta(min_length=1, max_length=QUESTION_LETTERS_MAX)]
    labels: Annotated[list[Label], Meta(max_length=LABELS_MAX)] = []
    together: bool = False
    settings: Settings = Settings()


class AnswerResult(msgspec.Struct):
    """An answer.

    Args:
        name: The cell's; "together" for all of them.
        cells: How many cells the prompt was made of; 0 where there was none.
        text: What the model wrote; null with an error.
        thought: What it thought before it answered; null: nothing.
        answer: Its answer: what stands in <answer>…</answer> of it or, of bundles whose answers
            have no tags, what is no thought. Null: it has none.
        confidence: Mean probability of the text's tokens, 0 to 1.
        whole: Whether the text ended of itself, not at the longest length.
        error: Why there is no text.
    """

    name: str
    cells: int
    text: str | None
    thought: str | None
    answer: str | None
    confidence: float | None
    whole: bool
    error: str | None


class AskResponse(msgspec.Struct):
    """The answers in the order of the cells.

    Args:
        answers: One a cell, or one.
        settings: How they were written; with the seed where tokens were drawn.
        warnings: What is doubtful about the request as a whole.
    """

    answers: list[AnswerResult]
    settings: dict[str, Any]
    warnings: list[str]


class QuestionAnalyses:
    """Asks questions with a room's model. Threads may share it.

    Args:
        analyses: Those of the room: has the turns and the audit trail.
    """

    def __init__(self, analyses: Analyses) -> None:
        self._analyses = analyses

    def ask(self, request: AskRequest, *, unwanted: Unwanted = lambda: False) -> AskResponse:
        """Ask about the cells of a request.

        Args:
            request: Cells and the question.
            unwanted: Asked between answers.

        Raises:
            C2TError: The bundle cannot answer; a question, settings or cells that cannot be; too
                much to do.
            JobCancelled: Nobody wants the answer.
        """
        analyses = self._analyses
        with analyses.turned(unwanted, ASK):
            model = analyses.model
            question = Question(text=request.question, labels=tuple(request.labels))
            question.check(model.bundle)
            settings = request.settings
            options = describe_options(settings, model.options)
            reader = self._reader()
            read = reader.read(
                [cell.counts for cell in request.cells],
                [str(n) if cell.id is None else cell.id for n, cell in enumerate(request.cells)],
                CellOptions(
                    values=settings.counts_are,
                    min_coverage=settings.min_coverage,
                    organism=settings.organism,
                ),
            )
            describer = model.describer(options)
            try:
                asker = Asker(describer, model.bundle, question)
                answers: Iterable[Answer]
                if request.together:
                    answers = asker.ask_together(read.cells, reader.gene_input)
                else:
                    answers = asker.ask_cells([read.cells], reader.gene_input)
                results = [_result(answer) for answer in analyses.until(answers, unwanted)]
            finally:
                if options != model.options:
                    model.forget(options)
            written = all_settings(describer.generation)
            warnings = list(read.warnings)
            if request.together and model.bundle.manifest.has_encoder:
                warnings += _left_out(read.cells)
            response = AskResponse(results, written, warnings)
            said = f"{len(request.cells):,} cells of a request"
            engine = describer.engines.label
            analyses.record(request, response, "a question was asked", said, engine)
        return response

    def ask_cell(
        self,
        source: CellSource,
        place: int,
        question: Question,
        *,
        unwanted: Unwanted = lambda: False,
    ) -> AskResponse:
        """Ask about one cell of a file, with the settings of its texts.

        Args:
            source: The file.
            place: Among its chosen cells.
            question: What to ask.
            unwanted: Asked before the work begins.

        Raises:
            C2TError: The bundle cannot answer; a question that cannot be; the file cannot be read;
                too much to do.
            JobCancelled: Nobody wants the answer.
        """
        analyses = self._analyses
        with analyses.cell(source, place, unwanted, ASK, named=True) as (reader, cell):
            model = analyses.model
            options = describe_options(source.settings, model.options)
            describer = model.describer(options)
            try:
                asker = Asker(describer, model.bundle, question)
                results = [_result(a) for a in asker.ask_cells([cell], reader.gene_input)]
            finally:
                if options != model.options:
                    model.forget(options)
            response = AskResponse(results, all_settings(describer.generation), [])
            asked = AskedOfFile(source.name, place, question.text)
            said = f"a question was asked about {results[0].name}"
            analyses.record(asked, response, said, source.name, describer.engines.label)
        return response

    def _reader(self) -> CountedCellReader:
        """What reads the cells of one request.

        Names of genes that a reader of gene sentences has met stay in it: one for all requests
        would grow for ever.
        """
        bundle = self._analyses.model.bundle
        if bundle.manifest.gene_sentence is not None:
            return CountedCellReader(bundle, named=True)
        return self._shared

    @cached_property
    def _shared(self) -> CountedCellReader:
        return CountedCellReader(self._analyses.model.bundle)


def _left_out(cells: EncodedCells) -> Iterator[str]:
    """Which of the cells of one group its answer does not rest on."""
    wrong = [
        f"cell {name}: {error}"
        for name, error in zip(cells.ids, cells.errors, strict=True)
        if error
    ]
    if 0 < len(wrong) < len(cells):
        yield f"{len(wrong):,} of {len(cells):,} cells are not in the group's mean: {wrong[0]}"


def _result(answer: Answer) -> AnswerResult:
    confidence = answer.confidence
    return AnswerResult(
        name=answer.name,
        cells=answer.cells,
        text=answer.text,
        thought=answer.thought,
        answer=answer.answer,
        confidence=None if confidence is None else round(confidence, DIGITS),
        whole=answer.whole,
        error=answer.error,
    )
