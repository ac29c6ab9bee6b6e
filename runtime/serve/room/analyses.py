"""Labels compared and texts explained, for cells of requests and of jobs.

One decision: one analysis runs at a time, in the thread that asks for it, beside the workers that
write texts. Explaining a cell takes as long as some hundred texts: more at a time would only slow
all others down.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import msgspec

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.bundle.tasks import ANNOTATE, EXPLAIN
from c2t.runtime.cells.counted_cells import ReadCells
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.caption_names import CELL_TYPE, label_doubts
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.explainer import Explainer
from c2t.runtime.describe.labelled_cell import no_label_fits
from c2t.runtime.describe.model import Model
from c2t.runtime.explain.gene_names import GeneNames
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.serve.room.analysis_messages import (
    AnnotateRequest,
    AnnotateResponse,
    CountsAre,
    EvidenceResult,
    EvidenceSettings,
    ExplainRequest,
    ExplainResponse,
    evidence_result,
    label_result,
)
from c2t.runtime.serve.room.audit import SCOPE, RoomAudit, refusing
from c2t.runtime.serve.room.limits import JobCancelled, OverloadedError
from c2t.runtime.serve.room.messages import CountedCell, Settings
from c2t.runtime.serve.room.observer import Observer
from c2t.runtime.system.errors import CellFileError, EngineError

WAITING_MAX = 8  # analyses that wait for their turn
LOOK_INTERVAL = 0.1  # how late a waiting one notices that nobody wants it, in seconds

T = TypeVar("T")
Unwanted = Callable[[], bool]  # whether nobody waits for the answer any more


class AnalysedRoom(Protocol):
    """What analyses need of the room that they are in: see `EngineRoom`."""

    model: Model
    audit: RoomAudit
    observer: Observer

    def read(self, cells: Sequence[CountedCell], options: CellOptions) -> ReadCells:
        """Read cells of a request."""

    def busy(self) -> AbstractContextManager[None]:
        """Something is under way."""

    def describe_options(self, settings: Settings) -> DescribeOptions:
        """The options of a request with these settings."""


@dataclass(frozen=True, kw_only=True)
class CellSource:
    """A file that was described.

    Args:
        name: What the audit trail calls it.
        settings: How its texts were written.
        open: Opens it as it was read then; with `named=True` so that questions can be asked.
    """

    name: str
    settings: Settings
    open: Callable[..., AbstractContextManager[CellReader]]


class AskedOfFile(msgspec.Struct):
    """What was asked about a cell of a file, for its hash in the audit trail."""

    source: str
    place: int
    about: EvidenceSettings | list[str] | str


class Analyses:
    """Compares labels and explains texts with a room's model. Threads may share it.

    Args:
        room: Its model, reader and audit trail.
    """

    def __init__(self, room: AnalysedRoom) -> None:
        self._room = room
        self._turn = threading.Semaphore()
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False

    def close(self) -> None:
        """Give up those that are under way or wait, and wait until they have left the model."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._waiting == 0)

    def annotate(
        self, request: AnnotateRequest, *, unwanted: Unwanted = lambda: False
    ) -> AnnotateResponse:
        """Compare labels for the cells of a request.

        Args:
            request: Cells and labels.
            unwanted: Asked between cells.

        Raises:
            C2TError: Labels that cannot be compared; cells that cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        with self.turned(unwanted, ANNOTATE):
            cells, warnings = self.read(request.cells, request.settings)
            annotator = self._room.model.annotator(request.labels)
            results = [
                label_result(cell, request.top)
                for cell in self.until(annotator.annotate([cells]), unwanted)
            ]
            unfit = no_label_fits(cell.mass for cell in results)
            response = AnnotateResponse(results, [*warnings, *annotator.doubts, *unfit])
            self.record(request, response, "labels were compared", _cells_of(request))
        return response

    def explain(
        self, request: ExplainRequest, *, unwanted: Unwanted = lambda: False
    ) -> ExplainResponse:
        """Explain the texts of the cells of a request.

        Args:
            request: Cells, and what to explain.
            unwanted: Asked after every run.

        Raises:
            C2TError: The texts have no such field; cells that cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        with self.turned(unwanted, EXPLAIN):
            cells, warnings = self.read(request.cells, request.settings)
            results = self._evidence([cells], request.evidence, self._names, unwanted)
            response = ExplainResponse(results, [*warnings, *self._label_doubts(request.evidence)])
            self.record(request, response, "texts were explained", _cells_of(request))
        return response

    def explain_cell(
        self,
        source: CellSource,
        place: int,
        evidence: EvidenceSettings,
        *,
        unwanted: Unwanted = lambda: False,
    ) -> EvidenceResult:
        """Explain the text of one cell of a file, written as that file's texts are.

        Args:
            source: The file.
            place: Among its chosen cells.
            evidence: What to explain.
            unwanted: Asked after every run.

        Raises:
            C2TError: The texts have no such field; the file cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        options = self._room.describe_options(source.settings)
        with self.cell(source, place, unwanted, EXPLAIN) as (reader, cell):
            names = GeneNames(self._room.model.bundle.genes, reader)
            (result,) = self._evidence([cell], evidence, names, unwanted, options)
            asked = AskedOfFile(source.name, place, evidence)
            self.record(asked, result, f"the text of {result.cell} was explained", source.name)
        return result

    def annotate_cell(
        self,
        source: CellSource,
        place: int,
        labels: Sequence[str],
        *,
        top: int,
        unwanted: Unwanted = lambda: False,
    ) -> AnnotateResponse:
        """Compare labels for one cell of a file.

        Args:
            source: The file.
            place: Among its chosen cells.
            labels: As of `AnnotateRequest`.
            top: Likewise.
            unwanted: Asked before the work begins.

        Raises:
            C2TError: Labels that cannot be compared; the file cannot be read; too much to do.
            JobCancelled: Nobody wants the answer.
        """
        with self.cell(source, place, unwanted, ANNOTATE) as (_, cell):
            annotator = self._room.model.annotator(labels)
            results = [label_result(labelled, top) for labelled in annotator.annotate([cell])]
            unfit = no_label_fits(cell.mass for cell in results)
            response = AnnotateResponse(results, [*annotator.doubts, *unfit])
            asked = AskedOfFile(source.name, place, list(labels))
            said = f"labels were compared for {results[0].cell}"
            self.record(asked, response, said, source.name)
        return response

    @contextmanager
    def cell(
        self,
        source: CellSource,
        place: int,
        unwanted: Unwanted,
        task: str,
        *,
        named: bool = False,
    ) -> Iterator[tuple[CellReader, EncodedCells]]:
        """An open file and one of its cells, when it is this analysis's turn.

        Raises:
            CellFileError: There is no such cell, or the file cannot be read.
        """
        with self.turned(unwanted, task), source.open(named=named) as reader:
            if place >= reader.n_cells:
                problem = f"there is no cell {place:,}"
                hint = f"there are {reader.n_cells:,}, counted from 0"
                raise CellFileError(problem, hint=hint)
            (cell,) = reader.chunks(place, place + 1)
            yield reader, cell

    @cached_property
    def _names(self) -> GeneNames:
        return GeneNames(self._room.model.bundle.genes)

    @property
    def model(self) -> Model:
        """The room's."""
        return self._room.model

    def read(
        self, cells: Sequence[CountedCell], settings: CountsAre
    ) -> tuple[EncodedCells, Sequence[str]]:
        """Cells of a request, and what is doubtful about them.

        Raises:
            CellFileError: The cells as a whole cannot be read as counts over known genes.
        """
        options = CellOptions(
            values=settings.counts_are,
            min_coverage=settings.min_coverage,
            organism=settings.organism,
        )
        read = self._room.read(cells, options)
        return read.cells, read.warnings

    def _label_doubts(self, settings: EvidenceSettings) -> list[str]:
        """What is doubtful about a name that evidence is asked for."""
        if settings.label is None or settings.field != CELL_TYPE:
            return []
        model = self._room.model
        return label_doubts(model.bundle, model.describer().fields.rules, settings.label)

    def _evidence(
        self,
        chunks: Iterable[EncodedCells],
        settings: EvidenceSettings,
        names: GeneNames,
        unwanted: Unwanted,
        describing: DescribeOptions | None = None,
    ) -> list[EvidenceResult]:
        def advance(runs: int) -> None:
            self._check(unwanted)

        model = self._room.model
        options = ExplainOptions(
            field=settings.field, label=settings.label, runs=settings.runs, seed=settings.seed
        )
        describing = describing or model.options
        describer = model.describer(describing)
        explainer = Explainer(model.bundle, describer, options, names=names, advance=advance)
        try:
            return [
                evidence_result(cell, settings.genes)
                for cell in self.until(explainer.explain(chunks), unwanted)
            ]
        finally:
            if describing != model.options:
                model.forget(describing)

    @contextmanager
    def turned(self, unwanted: Unwanted, task: str) -> Iterator[None]:
        """Wait for the turn to do a task, and keep the room open meanwhile.

        Refusals go into the audit trail.

        Raises:
            TaskError: The bundle cannot do it.
        """
        with refusing(self._room.audit), self._room.busy():
            self._room.model.bundle.manifest.need_task(task)
            with self._changed:
                if self._waiting > WAITING_MAX:
                    self._room.observer.rejected("overloaded")
                    problem = f"{self._waiting} analyses wait already"
                    hint = "send it again in 10 s"
                    raise OverloadedError(problem, hint=hint, retry_after=10)
                self._waiting += 1
            try:
                while not self._turn.acquire(timeout=LOOK_INTERVAL):
                    self._check(unwanted)
                try:
                    self._check(unwanted)
                    yield
                finally:
                    self._turn.release()
            finally:
                with self._changed:
                    self._waiting -= 1
                    self._changed.notify_all()

    def _check(self, unwanted: Unwanted) -> None:
        """End an analysis that nobody waits for.

        Raises:
            JobCancelled: Nobody wants the answer.
            EngineError: The room was closed.
        """
        if unwanted():
            raise JobCancelled
        if self._closed:
            problem = "the service stopped"
            raise EngineError(problem, hint="send it again when it is back")

    def until(self, items: Iterable[T], unwanted: Unwanted) -> Iterator[T]:
        """Items, as long as somebody wants them."""
        for item in items:
            self._check(unwanted)
            yield item

    def record(
        self,
        request: msgspec.Struct,
        response: msgspec.Struct,
        result: str,
        cells: str,
        engine: str | None = None,
    ) -> None:
        """A line of the audit trail, before the answer is given.

        Args:
            request: What was asked.
            response: The answer.
            result: What was done, in words.
            cells: Of what.
            engine: What ran the graphs; None: what describes.
        """
        if not self._room.audit.on:
            return
        bundle = self._room.model.bundle
        details = Details(
            scope=SCOPE,
            input=cells,
            input_sha256=hashlib.sha256(msgspec.json.encode(request)).hexdigest(),
            bundle=bundle.digest,
            signer=bundle.trust.fingerprint if bundle.trust else "",
            engine=engine or self._room.model.engine_label,
            text_sha256=hashlib.sha256(msgspec.json.encode(response)).hexdigest(),
            result=result,
        )
        self._room.audit.record(Action.request, details)


def _cells_of(request: AnnotateRequest | ExplainRequest) -> str:
    return f"{len(request.cells):,} cells of a request"
