"""`POST /v1/annotate`, `explain`, `embed`, `search` and `ask`, and evidence of a cell of a job.

A client that goes away takes its question along.

One decision: threads of their own. Of all doors together one analysis is done at a time; those that
wait for their turn must not take the event loop's own threads from results, uploads and texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from c2t.runtime.describe.question import QUESTION_LETTERS_MAX, Question
from c2t.runtime.serve.http.operation import Endpoint
from c2t.runtime.serve.http.wire.answers import json_response
from c2t.runtime.serve.http.wire.body import JSON_TYPE, Bodies, check_type, decode
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.analyses import WAITING_MAX, Analyses, CellSource, Unwanted
from c2t.runtime.serve.room.analysis_messages import (
    LABELS_MAX,
    AnnotateRequest,
    AnnotateResponse,
    EvidenceResult,
    EvidenceSettings,
    ExplainRequest,
    Label,
)
from c2t.runtime.serve.room.limits import JobCancelled
from c2t.runtime.serve.room.names_once import check_names_once
from c2t.runtime.serve.room.questions import AskRequest, AskResponse, QuestionAnalyses
from c2t.runtime.serve.room.vector_messages import EmbedRequest, SearchRequest
from c2t.runtime.serve.room.vectors import VectorAnalyses

# One is under way, others wait; one more is there to be refused.
THREADS = WAITING_MAX + 2
T = TypeVar("T", bound=msgspec.Struct)


class Work(Protocol):
    """What is done in a thread."""

    def __call__(self, *, unwanted: Unwanted) -> msgspec.Struct:
        """Do it, while somebody wants it."""


class CellEvidenceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which cell of a job, and what to explain.

    Args:
        place: Of the cell among those of the job, from 0.
        evidence: What, and how thoroughly.
    """

    place: Annotated[int, Meta(ge=0, le=1 << 53)]
    evidence: EvidenceSettings = EvidenceSettings()


class CellLabelsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which cell of a job, and the labels to compare; see `AnnotateRequest`."""

    place: Annotated[int, Meta(ge=0, le=1 << 53)]
    labels: Annotated[list[Label], Meta(min_length=1, max_length=LABELS_MAX)]
    top: Annotated[int, Meta(ge=1, le=LABELS_MAX)] = 3


class CellQuestionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which cell of a job, and the question about it; see `AskRequest`."""

    place: Annotated[int, Meta(ge=0, le=1 << 53)]
    question: Annotated[str, Meta(min_length=1, max_length=QUESTION_LETTERS_MAX)]
    labels: Annotated[list[Label], Meta(max_length=LABELS_MAX)] = []


class AnalysisRoutes:
    """Answers questions beside descriptions.

    Args:
        analyses: Answers them.
        bodies: Receives requests.
        jobs: Have cells; None: this service has no jobs.
    """

    def __init__(self, analyses: Analyses, *, bodies: Bodies, jobs: Jobs | None) -> None:
        self._analyses, self._bodies, self._jobs = analyses, bodies, jobs
        self._questions = QuestionAnalyses(analyses)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="c2t-http-analysis")
        self._at_once: dict[type[msgspec.Struct], Callable[..., msgspec.Struct]] = {
            AnnotateRequest: analyses.annotate,
            ExplainRequest: analyses.explain,
            EmbedRequest: VectorAnalyses(analyses).embed,
            SearchRequest: VectorAnalyses(analyses).search,
            AskRequest: self._questions.ask,
        }
        self._evidence_of = msgspec.json.Decoder(CellEvidenceRequest)
        self._labels_of = msgspec.json.Decoder(CellLabelsRequest)
        self._question_of = msgspec.json.Decoder(CellQuestionRequest)

    def at_once(self, asked_type: type[msgspec.Struct]) -> Endpoint:
        """What answers `POST` of cells with this type, such as `/v1/annotate`."""
        decoder, work = msgspec.json.Decoder(asked_type), self._at_once[asked_type]

        async def answer(request: Request) -> Response:
            asked = await self._read(request, decoder)
            return await self._answer(request, partial(work, asked))

        return answer

    async def explain_cell(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/explain`."""
        asked = await self._read(request, self._evidence_of)

        def explain(*, unwanted: Unwanted) -> EvidenceResult:
            source = self._source(request)
            return self._analyses.explain_cell(
                source, asked.place, asked.evidence, unwanted=unwanted
            )

        return await self._answer(request, explain)

    async def annotate_cell(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/annotate`."""
        asked = await self._read(request, self._labels_of)

        def annotate(*, unwanted: Unwanted) -> AnnotateResponse:
            source = self._source(request)
            return self._analyses.annotate_cell(
                source, asked.place, asked.labels, top=asked.top, unwanted=unwanted
            )

        return await self._answer(request, annotate)

    async def ask_cell(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/ask`."""
        asked = await self._read(request, self._question_of)
        question = Question(text=asked.question, labels=tuple(asked.labels))

        def ask(*, unwanted: Unwanted) -> AskResponse:
            source = self._source(request)
            return self._questions.ask_cell(source, asked.place, question, unwanted=unwanted)

        return await self._answer(request, ask)

    def _source(self, request: Request) -> CellSource:
        assert self._jobs is not None  # else there is no such path
        return self._jobs.cells(request.path_params["id"])

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[T]) -> T:
        check_type(request, JSON_TYPE)
        async with self._bodies.read(request) as body:
            asked = decode(decoder, body)
            check_names_once(body, getattr(asked, "cells", []), beside=0)
        return asked

    async def _answer(self, request: Request, work: Work) -> Response:
        """Do the work in a thread, for as long as the client is there.

        Raises:
            ClientDisconnect: It has gone.
        """
        with Listener(request) as listener:
            run = copy_context().run  # who asks, for the audit trail
            call = partial(work, unwanted=lambda: listener.gone)
            try:
                loop = asyncio.get_running_loop()
                return json_response(await loop.run_in_executor(self._threads, run, call))
            except JobCancelled:
                raise ClientDisconnect from None
