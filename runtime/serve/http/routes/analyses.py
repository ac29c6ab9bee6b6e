"""`POST /v1/annotate`, `explain`, `embed` and `search`, and evidence of a cell of a job.

A client that goes away takes its question along.

One decision: threads of their own. Of all doors together one analysis is done at a time; those that
wait for their turn must not take the event loop's own threads from results, uploads and texts.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

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
from c2t.runtime.serve.room.questions import AskRequest, QuestionAnalyses
from c2t.runtime.serve.room.vector_messages import EmbedRequest, SearchRequest
from c2t.runtime.serve.room.vectors import VectorAnalyses

# One is under way, others wait; one more is there to be refused.
THREADS = WAITING_MAX + 2
WITH_CELLS = (AnnotateRequest, ExplainRequest, EmbedRequest, SearchRequest, AskRequest)
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


class AnalysisRoutes:
    """Answers questions beside descriptions.

    Args:
        analyses: Answers them.
        bodies: Receives requests.
        jobs: Have cells; None: this service has no jobs.
    """

    def __init__(self, analyses: Analyses, *, bodies: Bodies, jobs: Jobs | None) -> None:
        self._analyses, self._bodies, self._jobs = analyses, bodies, jobs
        self._vectors, self._questions = VectorAnalyses(analyses), QuestionAnalyses(analyses)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="c2t-http-analysis")
        self._annotate = msgspec.json.Decoder(AnnotateRequest)
        self._explain = msgspec.json.Decoder(ExplainRequest)
        self._embed = msgspec.json.Decoder(EmbedRequest)
        self._ask = msgspec.json.Decoder(AskRequest)
        self._search = msgspec.json.Decoder(SearchRequest)
        self._evidence_of = msgspec.json.Decoder(CellEvidenceRequest)
        self._labels_of = msgspec.json.Decoder(CellLabelsRequest)

    async def annotate(self, request: Request) -> Response:
        """`POST /v1/annotate`."""
        asked = await self._read(request, self._annotate)
        return await self._answer(request, partial(self._analyses.annotate, asked))

    async def explain(self, request: Request) -> Response:
        """`POST /v1/explain`."""
        asked = await self._read(request, self._explain)
        return await self._answer(request, partial(self._analyses.explain, asked))

    async def embed(self, request: Request) -> Response:
        """`POST /v1/embed`."""
        asked = await self._read(request, self._embed)
        return await self._answer(request, partial(self._vectors.embed, asked))

    async def search(self, request: Request) -> Response:
        """`POST /v1/search`."""
        asked = await self._read(request, self._search)
        return await self._answer(request, partial(self._vectors.search, asked))

    async def ask(self, request: Request) -> Response:
        """`POST /v1/ask`."""
        asked = await self._read(request, self._ask)
        return await self._answer(request, partial(self._questions.ask, asked))

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

    def _source(self, request: Request) -> CellSource:
        assert self._jobs is not None  # else there is no such path
        return self._jobs.cells(request.path_params["id"])

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[T]) -> T:
        check_type(request, JSON_TYPE)
        async with self._bodies.read(request) as body:
            asked = decode(decoder, body)
            cells = asked.cells if isinstance(asked, WITH_CELLS) else []
            check_names_once(body, cells, beside=0)
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
