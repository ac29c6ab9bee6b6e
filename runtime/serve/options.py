"""Which doors of a service are open, and how; and the token that opens one."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.serve.http.listen import ListenOptions
from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.jobs.options import JobOptions, default_folder
from c2t.runtime.serve.sila.options import SilaOptions
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.state_folder import state_folder

__all__ = [  # all that the command needs, behind one import
    "HttpOptions",
    "JobOptions",
    "ListenOptions",
    "ServeOptions",
    "SilaOptions",
    "default_folder",
    "own_names",
    "read_token",
    "state_folder",
]
TOKEN_BYTES_MAX = 4096
_TOKEN_HINT = 'make one: `(umask 77; python3 -c "import secrets; print(secrets.token_urlsafe())" '
_TOKEN_HINT += "> token)`"


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve a bundle.

    Args:
        jobs: Where jobs lie, and how many there may be.
        describing: The engine, and how to describe where a request says nothing else.
        http: What the HTTP door lets in.
        listen: Where it is; None: there is none.
        insecure: Anybody who reaches this machine may use the HTTP door. The door for SiLA 2 has
            an option of its own.
        sila: The SiLA 2 door; None: there is none.
        socket: Where the Unix socket is made; None: there is none.
        drain_seconds: How long what was begun may take to end after a signal to stop.

    Raises:
        C2TError: No door, or one that is open to everybody.
    """

    jobs: JobOptions
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    http: HttpOptions = field(default_factory=HttpOptions)
    listen: ListenOptions | None = field(default_factory=ListenOptions)
    insecure: bool = False
    sila: SilaOptions | None = None
    socket: Path | None = None
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.listen is None and self.sila is None and self.socket is None:
            problem = "no door is open"
            raise C2TError(problem, hint="leave out --no-http, or give --sila or --socket")
        if self.sila is not None:
            self.sila.check_access()
        if self.listen is None or self.insecure or self.http.token is not None:
            return
        if not on_loopback(self.listen.host):
            problem = f"without a token, everybody who reaches {self.listen.host} could use the "
            problem += "service"
            hint = "give --token-file, or --insecure if the network may be trusted; see "
            hint += "`c2t help service`"
            raise C2TError(problem, hint=hint)


def on_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def own_names(host: str) -> tuple[str, ...]:
    """Names under which a service is asked that listens at `host`: itself, if it is a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return (host,)
    return ()


def read_token(path: Path) -> str:
    """The token in a file: its only line.

    Raises:
        C2TError: Not there, too long, not one line, or others may read it.
    """
    content = read_bounded(
        path, bytes_max=TOKEN_BYTES_MAX, error=C2TError, hint=_TOKEN_HINT, what="a token"
    )
    mode = path.stat().st_mode
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"{path} holds the token of the service, and others may read it"
        raise C2TError(problem, hint=f"run `chmod 600 {path}`")
    try:
        lines = content.decode("ascii").split()
    except UnicodeDecodeError:
        lines = []
    if len(lines) != 1:
        problem = f"{path} does not hold one word of ASCII, but {len(lines)}"
        raise C2TError(problem, hint=_TOKEN_HINT)
    return lines[0]
