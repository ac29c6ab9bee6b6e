"""The HTTP door of a room, as an ASGI application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.openapi import make_openapi
from c2t.runtime.serve.http.operation import Operation
from c2t.runtime.serve.http.operations import (
    about_operations,
    analysis_operations,
    describe_operations,
    job_operations,
)
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.page_files import PageRoute, load_page
from c2t.runtime.serve.http.readiness import Readiness
from c2t.runtime.serve.http.routes.about import AboutRoutes
from c2t.runtime.serve.http.routes.analyses import AnalysisRoutes
from c2t.runtime.serve.http.routes.describe import DescribeRoute
from c2t.runtime.serve.http.routes.jobs import JobRoutes
from c2t.runtime.serve.http.wire.body import Bodies
from c2t.runtime.serve.http.wire.boundary import Boundary
from c2t.runtime.serve.http.wire.guard import Guard
from c2t.runtime.serve.http.wire.problems import HttpError, problem_response
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.room.audit import RoomAudit
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError

OPENAPI_PATH = "/openapi.json"


def make_app(
    room: EngineRoom,
    jobs: Jobs | None = None,
    options: HttpOptions | None = None,
    *,
    metrics: Metrics | None = None,
) -> Starlette:
    """The application. Its lifespan warms the room up; whoever made room and jobs closes them.

    Args:
        room: Describes.
        jobs: Describes files in the background; None: this service has no jobs.
        options: What the door lets in.
        metrics: The room's observer, to be read at `/metrics`; None: only the door's own.
    """
    options, metrics = options or HttpOptions(), metrics or Metrics()
    metrics.watch_queue(lambda: room.waiting)
    readiness, bodies = Readiness(room), Bodies(options)
    about = AboutRoutes(room, options, readiness=readiness, metrics=metrics, jobs=jobs)
    describe = DescribeRoute(room, options, readiness=readiness, bodies=bodies)
    analysis = AnalysisRoutes(room.analyses, bodies=bodies, jobs=jobs)
    operations = describe_operations(describe)
    operations += analysis_operations(analysis, jobs=jobs is not None)
    if jobs is not None:
        operations += job_operations(JobRoutes(jobs, room, options, bodies=bodies))
    operations += about_operations(about)
    page = load_page()
    document = make_openapi(operations, token=options.token is not None)

    async def openapi(request: Request) -> Response:
        return Response(document, media_type="application/json")

    files = PageRoute(page).answer
    routes = [
        *_routes(operations),
        Route(OPENAPI_PATH, openapi, methods=["GET"]),
        *(Route(path, files, methods=["GET"]) for path in page),
    ]
    open_paths = {operation.path for operation in operations if not operation.needs_token}
    labels: dict[object, str] = {route.endpoint: route.path for route in routes}
    labels[files] = "page"
    middleware = [
        Middleware(
            Boundary,
            metrics=metrics,
            routes=labels,
            most=options.open_requests,
            always={*open_paths, "/metrics"},
        ),
        Middleware(
            Guard,
            options=options,
            metrics=metrics,
            without_token={*open_paths, OPENAPI_PATH, *page},
            pages={"/"} & page.keys(),
            audit=room.audit,
        ),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        readiness.begin()
        yield

    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
    app.router.redirect_slashes = False  # it would send the client to what its Host header says
    _answer_errors(app, metrics, room.audit)
    return app


def _routes(operations: list[Operation]) -> list[Route]:
    """One route a path, whatever the method: so a wrong method learns which are right."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes = []
    for path, of_path in by_path.items():

        async def answer(request: Request, of_path: dict[str, Operation] = of_path) -> Response:
            return await of_path[request.method].answer(request)

        # The name of a bundle may have slashes; a job's id has none.
        route = Route(path.replace("{name}", "{name:path}"), answer, methods=list(of_path))
        route.methods = set(of_path)  # HEAD of a stream would never end
        route.path = path
        routes.append(route)
    return routes


def _answer_errors(app: Starlette, metrics: Metrics, audit: RoomAudit) -> None:
    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, C2TError)
        if request.method not in ("GET", "HEAD"):  # what only looks has begun nothing
            audit.refused(error)
        if isinstance(error, HttpError) and error.reason is not None:
            metrics.rejected(error.reason)
        return problem_response(error)

    async def of_starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_as_problem(request, error))

    async def of_nobody(request: Request, error: Exception) -> None:
        return None  # the client has gone; nobody is to be answered

    app.add_exception_handler(C2TError, of_ours)
    app.add_exception_handler(HTTPException, of_starlette)
    app.add_exception_handler(ClientDisconnect, of_nobody)  # type: ignore[arg-type]


def _as_problem(request: Request, error: HTTPException) -> HttpError:
    path = re.sub(r"[^ -~]", "?", request.scope["path"])[:200]
    if error.status_code == 404:
        problem = f"there is nothing at {path}"
        hint = f"what there is stands in {OPENAPI_PATH}"
    elif error.status_code == 405:
        problem = f"{path} knows no {request.method[:20]}"
        hint = f"it knows {(error.headers or {}).get('Allow', 'other methods')}"
    else:
        problem, hint = str(error.detail), ""
    return HttpError(error.status_code, problem, hint=hint, headers=error.headers)
