"""All doors of a service in one event loop: opened, watched, and closed in order.

One decision: a signal to stop first closes what would begin something new. What was begun is
finished while the doors still answer, and then they close. Jobs stop between two tokens; they go
on when the service is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.command_line.signals import SIGNALS
from c2t.runtime.describe.describer import check_options
from c2t.runtime.describe.model import Model
from c2t.runtime.serve.audit_service import service_audit, service_settings
from c2t.runtime.serve.http.app import make_app
from c2t.runtime.serve.http.listen import ListenOptions, uvicorn_config
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.options import ServeOptions
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila import door as sila
from c2t.runtime.serve.stdio.unix_socket import SocketDoor
from c2t.runtime.system.errors import C2TError

Report = Callable[[str], None]
BACKLOG = 1024  # connections that wait to be accepted


def serve_bundle(
    bundle: Bundle,
    options: ServeOptions,
    *,
    report: Report,
    trail: AuditTrail | None = None,
    reason: str = "",
) -> None:
    """Serve a bundle until a signal says to stop.

    Args:
        bundle: Its hashes are checked.
        options: Which doors, and how.
        report: Told where the doors are, and what happens, a sentence at a time.
        trail: Told what is done, and by whom; None: there is no audit trail.
        reason: Why settings are others than the last time, for the trail.

    Raises:
        C2TError: A setting that cannot be, a door that cannot be opened, an engine that does not
            work.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if bundle.manifest.has_decoder:
        check_options(bundle, options.describing)
    metrics = Metrics()
    about = service_settings(bundle, options)
    with (
        service_audit(trail, bundle, about, reason=reason) as audit,
        Model(bundle, options.describing) as model,
    ):
        room = EngineRoom(model, observer=metrics, audit=audit)
        try:
            asyncio.run(_serve(room, metrics, options, report))
        finally:
            room.close()


async def _serve(room: EngineRoom, metrics: Metrics, options: ServeOptions, report: Report) -> None:
    stop = asyncio.Event()
    jobs = Jobs(room, options.jobs)
    async with AsyncExitStack() as doors:
        doors.callback(jobs.close)
        with _stopping_signals(stop):
            if options.socket is not None:
                doors.enter_context(SocketDoor(room, options.socket))
                report(f"a Unix socket is at {options.socket}")
            if options.sila is not None:
                opened = await sila.start(room, jobs, options.sila)
                doors.push_async_callback(opened.stop)
                way = "with TLS" if opened.certificate_file else "without TLS"
                report(f"SiLA 2 is at {opened.host}, port {opened.port}, {way}")
                if opened.certificate_file:
                    report(f"its certificate, for clients to trust, is {opened.certificate_file}")
            if options.listen is not None:
                app = make_app(room, jobs, options.http, metrics=metrics)
                where = await doors.enter_async_context(_http(app, options.listen))
                report(f"HTTP and the page are at http://{where}")
            report(f"jobs lie in {options.jobs.folder}")
            jobs.start()
            since = time.monotonic()
            await _until_stopped(_ready(room, since, report), stop)
            await stop.wait()
            report("stopping: what was begun is finished, nothing new is taken")
            await asyncio.to_thread(jobs.close)
            if not await asyncio.to_thread(room.drain, options.drain_seconds):
                report(f"not all was finished in {options.drain_seconds:g} s; the rest is given up")


async def _ready(room: EngineRoom, since: float, report: Report) -> None:
    await asyncio.to_thread(room.warm_up)
    label = room.model.engine_label
    report(f"ready after {time.monotonic() - since:.1f} s: {label}")


async def _until_stopped(work: object, stop: asyncio.Event) -> None:
    """Wait for work, or for the signal to stop, whichever comes first."""
    assert asyncio.iscoroutine(work)
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:  # the thread goes on; nobody waits for it
            working.cancel()
    finally:
        stopped.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopped


@asynccontextmanager
async def _http(app: Starlette, options: ListenOptions) -> AsyncIterator[str]:
    """The HTTP door; gives "host:port".

    Raises:
        C2TError: The port is taken, or there is no such address.
    """
    listener = _listener(options)
    host, port = listener.getsockname()[:2]
    server = _Server(uvicorn_config(app, options))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: other doors must close, too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _listener(options: ListenOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=BACKLOG)
    except OSError as error:
        problem = f"cannot listen at {options.host}, port {options.port}: {error.strerror or error}"
        raise C2TError(problem, hint="take another --port, or stop what uses it") from error


@contextmanager
def _stopping_signals(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets the event; after it, the system's own handling is back."""
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def stopping(number: int, _: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) == signal.SIG_IGN:
            continue
        before[number] = signal.signal(number, stopping)
    try:
        yield
    finally:
        if not stop.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)
