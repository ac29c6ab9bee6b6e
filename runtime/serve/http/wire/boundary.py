"""The outermost layer: counts requests, sets the headers of every answer, and turns bugs into 500.

A bug's answer says nothing of it; its traceback is in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.wire.problems import HttpError, problem_response

log = logging.getLogger(__name__)

# Nothing of the service is for other sites: not to read, not to embed, not to be kept anywhere.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
NOT_KEPT = (b"cache-control", b"no-store")
BUG = HttpError(500, "a fault of the service", hint="see its log")
CLIENT_GONE = 499  # nobody was there to be answered; nginx's number, never sent


class Boundary:
    """See the module.

    Args:
        app: What answers.
        metrics: Counts.
        routes: Paths of the routes, by their endpoints.
        most: Requests that are answered at the same time.
        always: Paths that are answered however many there are: probes would take a busy service
            for a dead one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        routes: Mapping[object, str],
        most: int,
        always: Collection[str] = (),
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._most = most
        self._always = frozenset(always)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no request goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        since = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                headers += HEADERS
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(NOT_KEPT)
                message = {**message, "headers": headers}
            await send(message)

        self._open += 1
        try:
            if self._open > self._most and scope["path"] not in self._always:
                await problem_response(self._too_many())(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception:
            log.exception("%s %r failed by a bug", scope["method"], scope["path"])
            if status:  # the connection ends in the middle, so that the client notices
                raise
            await problem_response(BUG)(scope, receive, answer)
        finally:
            self._open -= 1
            route = self._routes.get(scope.get("endpoint"), "none")
            self._metrics.request(route, status or CLIENT_GONE, time.perf_counter() - since)

    def _too_many(self) -> HttpError:
        self._metrics.rejected("open_requests")
        problem = f"{self._most:,} requests are being answered already"
        headers = {"Retry-After": "1"}
        return HttpError(429, problem, hint="send it again in a second", headers=headers)
