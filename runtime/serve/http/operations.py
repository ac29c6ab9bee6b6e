"""All that can be asked, in one table."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from c2t.runtime.serve.http.metrics import METRICS_TYPE
from c2t.runtime.serve.http.operation import Header, Operation
from c2t.runtime.serve.http.routes.about import (
    AboutRoutes,
    BundleInfo,
    Health,
    ModelMetadata,
    ServerMetadata,
)
from c2t.runtime.serve.http.routes.analyses import (
    AnalysisRoutes,
    CellEvidenceRequest,
    CellLabelsRequest,
    CellQuestionRequest,
)
from c2t.runtime.serve.http.routes.describe import DescribeRoute, Done, Warned
from c2t.runtime.serve.http.routes.job_forms import (
    KEY_MAX,
    FileName,
    JobsPage,
    PathJob,
    ResultsQuery,
)
from c2t.runtime.serve.http.routes.jobs import FILE_TYPE, RESULT_TYPES, JobList, JobRoutes
from c2t.runtime.serve.http.wire.body import JSON_TYPE
from c2t.runtime.serve.http.wire.events import EVENTS_TYPE
from c2t.runtime.serve.http.wire.problems import ProblemDetails
from c2t.runtime.serve.jobs.state import JobEvent, JobState, Reading
from c2t.runtime.serve.room.analysis_messages import (
    AnnotateRequest,
    AnnotateResponse,
    EvidenceResult,
    ExplainRequest,
    ExplainResponse,
)
from c2t.runtime.serve.room.messages import DescribeRequest, DescribeResponse, Settings
from c2t.runtime.serve.room.questions import AskRequest, AskResponse
from c2t.runtime.serve.room.ticket import CellDone, TextPiece
from c2t.runtime.serve.room.vector_messages import (
    EmbedRequest,
    EmbedResponse,
    SearchRequest,
    SearchResponse,
)

BODY_ERRORS = (400, 408, 413, 415, 422)
IDEMPOTENCY_KEY = Header(
    name="Idempotency-Key",
    description="The same request with the same key makes one job, however often it is sent.",
    schema={"type": "string", "minLength": 1, "maxLength": KEY_MAX, "pattern": "^[ -~]+$"},
)
LAST_EVENT = Header(
    name="Last-Event-ID",
    description="The `id` of the last event that was seen; only later ones are sent.",
    schema={"type": "string", "pattern": "^[0-9]{0,18}$"},
)
DESCRIBE_EVENTS = {
    "warning": Warned,
    "text": TextPiece,
    "cell": CellDone,
    "done": Done,
    "problem": ProblemDetails,
}
JOB_EVENTS = {
    **dict.fromkeys(("cells", "progress", "done", "failed", "cancelled"), JobEvent),
    "problem": ProblemDetails,
}


class AtOnce(NamedTuple):
    """A question about cells that come with it, at `/v1/` and its name."""

    name: str
    takes: type[Struct]
    sends: type[Struct]
    summary: str
    description: str


ANALYSES = (
    AtOnce(
        name="annotate",
        takes=AnnotateRequest,
        sends=AnnotateResponse,
        summary="Compare labels for cells",
        description="How probable each of the given labels is for each cell. One analysis runs at "
        "a time; a client that goes away takes its own along.",
    ),
    AtOnce(
        name="explain",
        takes=ExplainRequest,
        sends=ExplainResponse,
        summary="Find the genes that texts rest on",
        description="Genes are left out and the words scored again: this takes as long as some "
        "hundred texts a cell.",
    ),
    AtOnce(
        name="embed",
        takes=EmbedRequest,
        sends=EmbedResponse,
        summary="Vectors of cells",
        description="The encoder's, and the place in the space of cells and texts where the "
        "bundle has one.",
    ),
    AtOnce(
        name="search",
        takes=SearchRequest,
        sends=SearchResponse,
        summary="Compare texts with cells",
        description="Scores of each text for each cell, by a bundle with a space of cells and "
        "texts.",
    ),
    AtOnce(
        name="ask",
        takes=AskRequest,
        sends=AskResponse,
        summary="Ask a question about cells",
        description="About each cell, or about all of them together, by a bundle whose prompt "
        "has a place for a question.",
    ),
)


def describe_operations(route: DescribeRoute) -> list[Operation]:
    """What describes cells at once."""
    return [
        Operation(
            method="POST",
            path="/v1/describe",
            answer=route.answer,
            summary="Describe cells",
            description="With `Accept: text/event-stream` the texts come while they are written; "
            "pieces that come close together are sent as one. `problem` comes if the engine "
            "fails. A client that goes away takes its cells along.",
            takes={JSON_TYPE: DescribeRequest},
            sends={JSON_TYPE: DescribeResponse, EVENTS_TYPE: DESCRIBE_EVENTS},
            errors=(*BODY_ERRORS, 406, 424, 503),
        )
    ]


def analysis_operations(routes: AnalysisRoutes, *, jobs: bool) -> list[Operation]:
    """What is asked beside descriptions.

    Args:
        routes: Answer it.
        jobs: Whether there are jobs, too.
    """
    operations = [
        Operation(
            method="POST",
            path=f"/v1/{asked.name}",
            answer=routes.at_once(asked.takes),
            summary=asked.summary,
            description=asked.description,
            takes={JSON_TYPE: asked.takes},
            sends={JSON_TYPE: asked.sends},
            errors=(*BODY_ERRORS, 424, 503),
        )
        for asked in ANALYSES
    ]
    if not jobs:
        return operations
    errors = (*BODY_ERRORS, 404, 424, 503, 507)
    return [
        *operations,
        Operation(
            method="POST",
            path="/v1/jobs/{id}/explain",
            answer=routes.explain_cell,
            summary="Find the genes that the text of a cell of a job rests on",
            takes={JSON_TYPE: CellEvidenceRequest},
            sends={JSON_TYPE: EvidenceResult},
            errors=errors,
        ),
        Operation(
            method="POST",
            path="/v1/jobs/{id}/annotate",
            answer=routes.annotate_cell,
            summary="Compare labels for a cell of a job",
            takes={JSON_TYPE: CellLabelsRequest},
            sends={JSON_TYPE: AnnotateResponse},
            errors=errors,
        ),
        Operation(
            method="POST",
            path="/v1/jobs/{id}/ask",
            answer=routes.ask_cell,
            summary="Ask a question about a cell of a job",
            description="The answer is written with the settings of the job's texts.",
            takes={JSON_TYPE: CellQuestionRequest},
            sends={JSON_TYPE: AskResponse},
            errors=errors,
        ),
    ]


def about_operations(routes: AboutRoutes) -> list[Operation]:
    """What the service says of itself."""
    health = {JSON_TYPE: Health}
    return [
        Operation(
            method="GET",
            path="/v1/bundle",
            answer=routes.bundle,
            summary="What is served",
            sends={JSON_TYPE: BundleInfo},
        ),
        *(
            Operation(
                method="GET",
                path=path,
                answer=routes.live,
                summary="The process answers",
                sends=health,
                needs_token=False,
            )
            for path in ("/healthz", "/v2/health/live")
        ),
        *(
            Operation(
                method="GET",
                path=path,
                answer=routes.ready,
                summary="Cells can be described",
                sends=health,
                errors=(503,),
                needs_token=False,
            )
            for path in ("/readyz", "/v2/health/ready")
        ),
        Operation(
            method="GET",
            path="/metrics",
            answer=routes.metrics,
            summary="Metrics for Prometheus",
            sends={METRICS_TYPE: str},
        ),
        Operation(
            method="GET",
            path="/v2",
            answer=routes.server,
            summary="Server metadata of the Open Inference Protocol",
            sends={JSON_TYPE: ServerMetadata},
        ),
        # Before the model's own path, which would take "/ready" for a part of its name.
        Operation(
            method="GET",
            path="/v2/models/{name}/ready",
            answer=routes.model_ready,
            summary="Cells can be described with this bundle",
            sends=health,
            errors=(404, 503),
        ),
        Operation(
            method="GET",
            path="/v2/models/{name}",
            answer=routes.model,
            summary="Model metadata of the Open Inference Protocol",
            sends={JSON_TYPE: ModelMetadata},
            errors=(404,),
        ),
    ]


def job_operations(routes: JobRoutes) -> list[Operation]:
    """What is about jobs."""
    job = {JSON_TYPE: JobState}
    return [
        Operation(
            method="POST",
            path="/v1/jobs",
            answer=routes.create,
            summary="Describe the cells of a file in the background",
            description="The file is the body, or lies where the service runs; or send cells. "
            "Parameters in the address are for a file in the body only; JSON has its own.",
            status=202,
            takes={JSON_TYPE: PathJob | DescribeRequest, FILE_TYPE: bytes},
            query=(FileName, Settings, Reading),
            headers=(IDEMPOTENCY_KEY,),
            sends=job,
            headers_sent={"Location": "The job's path."},
            errors=(*BODY_ERRORS, 409, 424, 503, 507),
        ),
        Operation(
            method="GET",
            path="/v1/jobs",
            answer=routes.recent,
            summary="Jobs, the newest first",
            query=(JobsPage,),
            sends={JSON_TYPE: JobList},
            errors=(422,),
        ),
        Operation(
            method="GET",
            path="/v1/jobs/{id}",
            answer=routes.state,
            summary="How far a job is",
            sends=job,
            errors=(404,),
        ),
        Operation(
            method="DELETE",
            path="/v1/jobs/{id}",
            answer=routes.delete,
            summary="Cancel a job, and remove all that is kept of it",
            status=204,
            errors=(404, 503, 507),
        ),
        Operation(
            method="POST",
            path="/v1/jobs/{id}/cancel",
            answer=routes.cancel,
            summary="Cancel a job, and keep what it has described",
            status=202,
            sends=job,
            errors=(404, 503, 507),
        ),
        Operation(
            method="POST",
            path="/v1/jobs/{id}/resume",
            answer=routes.resume,
            summary="Have a job go on that failed or was cancelled",
            description="Behind the cells that it has described. A job that waits, runs or is done "
            "stays as it is.",
            status=202,
            sends=job,
            errors=(404, 503, 507),
        ),
        Operation(
            method="GET",
            path="/v1/jobs/{id}/events",
            answer=routes.events,
            summary="What happens to a job",
            description="The last event tells how the job ended, or `problem` that it was removed. "
            "What happens quickly is told as one.",
            headers=(LAST_EVENT,),
            sends={EVENTS_TYPE: JOB_EVENTS},
            errors=(404, 422),
        ),
        Operation(
            method="GET",
            path="/v1/jobs/{id}/results",
            answer=routes.results,
            summary="The results of a job",
            description="As jsonl also while it runs, and a part of them: `count` cells from the "
            "place `first` on. Other formats are whole files of a job that ended.",
            query=(ResultsQuery,),
            sends={kind: bytes for kind in RESULT_TYPES.values()},
            headers_sent={
                "C2T-First-Cell": "Place of the first cell; of jsonl.",
                "C2T-Cells": "How many lines; of jsonl.",
            },
            errors=(404, 409, 422, 507),
        ),
        Operation(
            method="GET",
            path="/v1/jobs/{id}/columns",
            answer=routes.columns,
            summary="The columns that the page draws",
            sends={FILE_TYPE: bytes},
            errors=(404, 409, 507),
        ),
    ]
