"""Who may ask: the checks of Host, Origin and token, before anything else of a request is read.

Loopback is no boundary: any page that a browser shows can send requests to it. So

- Host must name this service. A page whose name was bound to 127.0.0.1 after it was loaded (DNS
  rebinding) still sends its own name.
- Origin, where it is sent, must be this service's, and `Sec-Fetch-Site` may not say that another
  site asks. There is no CORS header, so no other page reads an answer. Following a link to the page
  is allowed.
- The token comes in `Authorization: Bearer` only, never in an address, which logs and histories
  keep. The page's own files, the health of the service and its description in `/openapi.json` need
  none: the page must load before it can ask for the token, and probes know none.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from c2t.runtime.audit.line import Action
from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.wire.problems import HttpError, problem_response, shown
from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.room.audit import NO_AUDIT, RoomAudit

log = logging.getLogger(__name__)

PORTS = {"http": 80, "https": 443}
OWN_SITES = (b"same-origin", b"none")  # "none": typed by the user


class Guard:
    """See the module.

    Args:
        app: What answers requests that may be answered.
        options: The token, and further names.
        metrics: Counts what is refused.
        without_token: Paths that need none.
        pages: Paths that a link of another site may lead to.
        audit: Told who was not let in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        options: HttpOptions,
        metrics: Metrics,
        without_token: Collection[str],
        pages: Collection[str],
        audit: RoomAudit = NO_AUDIT,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._audit = audit
        self._hosts = {host.lower() for host in options.hosts}
        self._origins = {origin.lower().rstrip("/") for origin in options.origins}
        self._token = None if options.token is None else options.token.encode("ascii")
        self._without_token = frozenset(without_token)
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = (scope.get("client") or ("a socket",))[0]
        let_in("HTTP", client)
        try:
            self._check(scope)
        except HttpError as refusal:
            self._metrics.rejected(refusal.reason or "")
            login = refusal.reason == "token"
            self._audit.refused(refusal, action=Action.login if login else Action.refuse)
            log.warning("%s was refused: %s", client, refusal.problem)
            await problem_response(refusal)(scope, receive, send)
            return
        if self._token is not None and scope["path"] not in self._without_token:
            let_in("HTTP", f"{client} with the token")
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        sent = _headers(scope, (b"host", b"origin", b"sec-fetch-site", b"authorization"))
        self._check_host(scope, sent.get(b"host"))
        if b"origin" in sent:
            self._check_origin(scope, sent[b"origin"], sent.get(b"host", b""))
        if sent.get(b"sec-fetch-site", b"none") not in OWN_SITES and not self._is_link(scope):
            problem = "the request came from a page of another site"
            raise HttpError(403, problem, hint=PAGE_HINT, reason="origin")
        if self._token is not None and scope["path"] not in self._without_token:
            self._check_token(sent.get(b"authorization"))

    def _check_host(self, scope: Scope, sent: bytes | None) -> None:
        server = scope.get("server")
        if server is None or server[1] is None:  # a Unix socket: no browser reaches it
            return
        host = (sent or b"").decode("latin-1").lower()
        name, port = split_host(host, PORTS.get(scope["scheme"], 80))
        if host in self._hosts or name in self._hosts:
            return
        if port == server[1] and (name == "localhost" or _is_address(name, server[0])):
            return
        problem = f"the request is for the host {shown(host)}, which is not this service"
        hint = "use the address that it was started with, or start it with `--allow-host`; see "
        hint += "`c2t help service`"
        raise HttpError(403, problem, hint=hint, reason="host")

    def _check_origin(self, scope: Scope, sent: bytes, host: bytes) -> None:
        origin = sent.decode("latin-1").lower()
        default = PORTS.get(scope["scheme"], 80)
        own = split_host(host.decode("latin-1").lower(), default)
        scheme, _, asking = origin.partition("://")
        if scheme == scope["scheme"] and asking and split_host(asking, default) == own:
            return
        if origin in self._origins:
            return
        problem = f"the request came from a page of {shown(origin)}"
        raise HttpError(403, problem, hint=PAGE_HINT, reason="origin")

    def _is_link(self, scope: Scope) -> bool:
        """Whether a browser follows a link to the page, in a tab of its own."""
        sent = _headers(scope, (b"sec-fetch-mode", b"sec-fetch-dest"))
        return (
            scope["method"] == "GET"
            and scope["path"] in self._pages
            and sent.get(b"sec-fetch-mode") == b"navigate"
            and sent.get(b"sec-fetch-dest") == b"document"
        )

    def _check_token(self, sent: bytes | None) -> None:
        kind, _, token = (sent or b"").partition(b" ")
        # Both sides are compared whole: how long it takes says nothing of where they differ.
        if kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token or b""):
            return
        problem = "the token is not this service's" if sent else "the request has no token"
        hint = "send the service's token as `Authorization: Bearer TOKEN`"
        headers = {"WWW-Authenticate": "Bearer"}
        raise HttpError(401, problem, hint=hint, headers=headers, reason="token")


PAGE_HINT = "open the service's own page, or call it from a program"


def split_host(host: str, default: int) -> tuple[str, int]:
    """Name and port of a Host, the name of an IPv6 address without brackets; ("", 0) for others."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, str(default)
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        return "", 0
    return (name, int(port)) if port.isascii() and port.isdigit() and len(port) < 6 else ("", 0)


def _is_address(name: str, local: str) -> bool:
    """Whether a name is the address that the connection came to, or one of loopback.

    No page has an address of ours as its name, unless it is ours.
    """
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or name == local.partition("%")[0]


def _headers(scope: Scope, wanted: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """Headers of a request; one that was sent twice counts as all its values together."""
    found: dict[bytes, bytes] = {}
    pairs: Any = scope["headers"]
    for name, value in pairs:
        if name in wanted:
            found[name] = found[name] + b", " + value if name in found else value
    return found
