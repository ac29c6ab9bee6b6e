"""Jobs: made, listed, watched, read, cancelled, removed.

What reads or writes files runs in threads; states and events are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.routes.job_forms import (
    JobsPage,
    PathJob,
    ResultsQuery,
    decode_job,
    idempotency_key,
    last_event,
    read_query,
    upload_parameters,
)
from c2t.runtime.serve.http.routes.settings_check import SettingsCheck
from c2t.runtime.serve.http.wire.answers import attachment, file_response, json_response
from c2t.runtime.serve.http.wire.body import (
    JSON_TYPE,
    Bodies,
    announced,
    check_type,
    content_type,
    read_pieces,
)
from c2t.runtime.serve.http.wire.events import HEARTBEAT, event, event_response
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.http.wire.pieces import PiecesResponse
from c2t.runtime.serve.http.wire.problems import HttpError, problem_of
from c2t.runtime.serve.jobs.errors import JobNotFoundError
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState
from c2t.runtime.serve.room.room import EngineRoom

FILE_TYPE = "application/octet-stream"
RESULT_TYPES = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "h5ad": FILE_TYPE,
    "groups": "text/csv; charset=utf-8",
}
WRITE_BYTES = 1 << 20  # an upload goes to the disk in pieces of this size
LINES = 256  # results that are read from the disk at a time
EVENTS_INTERVAL = 0.1
LOOK_INTERVAL = 1.0  # how late a stream notices that the service stops, in seconds


class JobList(msgspec.Struct):
    """Jobs, the newest first."""

    jobs: list[JobState]


class JobRoutes:
    """Answers what is asked about jobs.

    Args:
        jobs: All of them.
        room: Describes them.
        options: Limits of the door.
        bodies: Receives requests.
    """

    def __init__(
        self, jobs: Jobs, room: EngineRoom, options: HttpOptions, *, bodies: Bodies
    ) -> None:
        self._jobs = jobs
        self._room = room
        self._bodies = bodies
        self._check = SettingsCheck(room)
        self._options = options

    async def create(self, request: Request) -> Response:
        """`POST /v1/jobs`: of a file in the body, a path, or cells."""
        check_type(request, FILE_TYPE, JSON_TYPE)
        if content_type(request) == FILE_TYPE:
            job = await self._upload(request)
        else:
            job = await self._from_json(request)
        return json_response(job, 202, {"Location": f"/v1/jobs/{job.id}"})

    async def recent(self, request: Request) -> Response:
        """`GET /v1/jobs`."""
        (page,) = read_query(request, JobsPage)
        return json_response(JobList(self._jobs.recent(first=page.first, count=page.count)))

    async def state(self, request: Request) -> Response:
        """`GET /v1/jobs/{id}`."""
        return json_response(self._jobs.get(request.path_params["id"]))

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/jobs/{id}`: cancels and removes it."""
        await asyncio.to_thread(self._jobs.delete, request.path_params["id"])
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/cancel`: stops it, and keeps what it has described."""
        job = await asyncio.to_thread(self._jobs.cancel, request.path_params["id"])
        return json_response(job, 202)

    async def resume(self, request: Request) -> Response:
        """`POST /v1/jobs/{id}/resume`: one that failed or was cancelled goes on."""
        job = await asyncio.to_thread(self._jobs.resume, request.path_params["id"])
        return json_response(job, 202)

    async def events(self, request: Request) -> Response:
        """`GET /v1/jobs/{id}/events`: goes on behind `Last-Event-ID`."""
        identity, after = request.path_params["id"], last_event(request)
        self._jobs.get(identity)  # one that is not there has a status
        listener = Listener(request)
        return event_response(self._stream(identity, after, listener), listener, self._options)

    async def results(self, request: Request) -> Response:
        """`GET /v1/jobs/{id}/results`: a file to keep; of lines also a part, while it runs."""
        identity = request.path_params["id"]
        (asked,) = read_query(request, ResultsQuery)
        kind: str = asked.format
        if kind == "jsonl":
            return await self._lines(request, asked)
        if asked.first is not None or asked.count is not None:
            problem = f"`first` and `count` are given for {kind}"
            raise HttpError(422, problem, hint="ask for a part as jsonl, or for the whole file")
        return await file_response(
            request,
            lambda: self._jobs.results(identity, asked.format),
            media_type=RESULT_TYPES[kind],
            stalled_seconds=self._options.stalled_seconds,
            download=True,
        )

    async def columns(self, request: Request) -> Response:
        """`GET /v1/jobs/{id}/columns`: what the page draws, in one binary file."""
        identity = request.path_params["id"]
        return await file_response(
            request,
            lambda: self._jobs.columns(identity),
            media_type=FILE_TYPE,
            stalled_seconds=self._options.stalled_seconds,
        )

    async def _upload(self, request: Request) -> JobState:
        name, settings, reading = upload_parameters(request)
        self._check(settings)
        upload = await asyncio.to_thread(
            self._jobs.create_from_upload,
            name,
            settings=settings,
            reading=reading,
            key=idempotency_key(request),
            size=announced(request),
        )
        waiting = bytearray()
        try:
            async for piece in read_pieces(request, seconds=self._options.stalled_seconds):
                waiting += piece
                if len(waiting) >= WRITE_BYTES:
                    await asyncio.to_thread(upload.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(upload.write, bytes(waiting))
            return await asyncio.to_thread(upload.finish)
        except BaseException:  # also a client that goes, and a service that stops
            await asyncio.shield(asyncio.to_thread(upload.abort))
            raise

    async def _from_json(self, request: Request) -> JobState:
        key = idempotency_key(request)
        read_query(request)
        async with self._bodies.read(request) as body:
            asked = decode_job(body)
            self._check(asked.settings)
            if isinstance(asked, PathJob):
                return await asyncio.to_thread(
                    self._jobs.create_from_path,
                    asked.path,
                    settings=asked.settings,
                    reading=asked.reading,
                    key=key,
                )
            return await asyncio.to_thread(self._jobs.create_from_cells, asked, key=key)

    async def _stream(
        self, identity: str, after: int, listener: Listener
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        try:
            with self._jobs.watch(identity, listener.wake):
                yield HEARTBEAT
                sent = loop.time()
                while not (listener.gone or self._room.stopping):
                    ended = self._jobs.get(identity).has_ended
                    happened = self._jobs.events(identity, after=after)
                    if happened:
                        after = happened[-1].id
                        yield b"".join(event(one.event, one, one.id) for one in happened)
                        sent = loop.time()
                        await asyncio.sleep(EVENTS_INTERVAL)
                    elif ended:
                        return
                    elif loop.time() - sent >= self._options.heartbeat_seconds:
                        yield HEARTBEAT
                        sent = loop.time()
                    else:
                        await listener.wait(min(LOOK_INTERVAL, self._options.heartbeat_seconds))
        except JobNotFoundError as error:  # removed meanwhile
            yield event("problem", problem_of(error))

    async def _lines(self, request: Request, asked: ResultsQuery) -> Response:
        identity = request.path_params["id"]
        first, count = asked.first or 0, asked.count

        def begin() -> tuple[str, int, Iterator[bytes]]:
            found = self._jobs.lines(identity, first=first, count=count)
            return self._jobs.get(identity).name, found.count, found.lines

        name, lines, results = await asyncio.to_thread(begin)
        headers = {"C2T-First-Cell": str(first), "C2T-Cells": str(lines)}
        if asked.first is None and count is None:
            headers["Content-Disposition"] = attachment(f"{name.rpartition('.')[0] or name}.jsonl")
        return PiecesResponse(
            _pieces(results),
            listener=Listener(request),
            stalled_seconds=self._options.stalled_seconds,
            media_type=RESULT_TYPES["jsonl"],
            headers=headers,
        )


async def _pieces(lines: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Many lines at a time, read in a thread."""
    try:
        while piece := await asyncio.to_thread(lambda: b"".join(islice(lines, LINES))):
            yield piece
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            with suppress(ValueError):  # a thread reads still, as the service was stopped by force
                close()
