"""`POST /v1/annotate`, `POST /v1/explain`, and evidence of a cell of a job.

What is asked is done in a thread. A client that goes away takes its question along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from c2t.runtime.cells.reader import CellReader
from c2t.runtime.serve.http.wire.answers import json_response
from c2t.runtime.serve.http.wire.body import JSON_TYPE, Bodies, check_type, decode
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.analyses import Analyses, Unwanted
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

T = TypeVar("T", bound=msgspec.Struct)


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
        self._annotate = msgspec.json.Decoder(AnnotateRequest)
        self._explain = msgspec.json.Decoder(ExplainRequest)
        self._evidence_of = msgspec.json.Decoder(CellEvidenceRequest)
        self._labels_of = msgspec.json.Decoder(CellLabelsRequest)

    async def annotate(self, request: Request) -> Response:
        """`POST /v1/annotate`."""
        asked, listener = await self._read(request, self._annotate), Listener(request)
        return await _answer(
            listener, lambda unwanted: self._analyses.annotate(asked, unwanted=unwanted)
        )

    async def explain(self, request: Request) -> Response:
        """`POST /v1/explain`."""
        asked, listener = await self._read(request, self._explain), Listener(request)
        return await _answer(
            listener, lambda unwanted: self._analyses.explain(asked, unwanted=unwanted)
        )

    async def explain_cell(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/explain`."""
        asked = await self._read(request, self._evidence_of)

        def explain(reader: CellReader, unwanted: Unwanted) -> EvidenceResult:
            return self._analyses.explain_cell(
                reader, asked.place, asked.evidence, unwanted=unwanted
            )

        return await self._of_job(request, explain)

    async def annotate_cell(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/annotate`."""
        asked = await self._read(request, self._labels_of)

        def annotate(reader: CellReader, unwanted: Unwanted) -> AnnotateResponse:
            return self._analyses.annotate_cell(
                reader, asked.place, asked.labels, top=asked.top, unwanted=unwanted
            )

        return await self._of_job(request, annotate)

    async def _of_job(
        self, request: Request, work: Callable[[CellReader, Unwanted], msgspec.Struct]
    ) -> Response:
        jobs, job_id = self._jobs, request.path_params["id"]
        assert jobs is not None  # else there is no such path

        def read_and_work(unwanted: Unwanted) -> msgspec.Struct:
            with jobs.cells(job_id) as reader:
                return work(reader, unwanted)

        return await _answer(Listener(request), read_and_work)

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[T]) -> T:
        check_type(request, JSON_TYPE)
        async with self._bodies.read(request) as body:
            asked = decode(decoder, body)
            cells = asked.cells if isinstance(asked, AnnotateRequest | ExplainRequest) else []
            check_names_once(body, cells, beside=0)
        return asked


async def _answer(listener: Listener, work: Callable[[Unwanted], msgspec.Struct]) -> Response:
    """Do the work in a thread, for as long as the client is there.

    Raises:
        ClientDisconnect: It has gone.
    """
    with listener:
        try:
            return json_response(await asyncio.to_thread(work, lambda: listener.gone))
        except JobCancelled:
            raise ClientDisconnect from None
