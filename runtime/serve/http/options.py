"""What the HTTP door lets in: its token, its names, its limits."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.system.errors import C2TError

TOKEN_LENGTH_MIN = 16


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Options of the HTTP door.

    Args:
        token: What `Authorization: Bearer` must carry; None: nobody is asked.
        hosts: Further names, as "name" or "name:port", under which the service is asked, besides
            the loopback names and the address that a connection came to.
        origins: Further origins, as "https://name", of pages that may ask: for a proxy in front
            that speaks TLS.
        body_bytes: Longest JSON body.
        bodies_bytes: All JSON bodies together that are being received or read.
        body_seconds: How long a JSON body may take to arrive.
        stalled_seconds: How long a transfer may stand still: an upload's next piece, or a reader
            of events that reads nothing.
        open_requests: Requests that are answered at the same time; more are refused.
        heartbeat_seconds: A stream of events that is silent for so long sends a comment.

    Raises:
        C2TError: A value that it cannot have.
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_bytes: int = 64 << 20
    bodies_bytes: int = 256 << 20
    body_seconds: float = 60.0
    stalled_seconds: float = 60.0
    open_requests: int = 256
    heartbeat_seconds: float = 15.0

    def __post_init__(self) -> None:
        if self.token is not None and not _is_token(self.token):
            problem = f"the token of the service has {len(self.token)} characters, or strange ones"
            hint = f"take at least {TOKEN_LENGTH_MIN} letters, digits and any of -._~+/="
            raise C2TError(problem, hint=hint)
        sizes = (
            *("body_bytes", "bodies_bytes", "body_seconds", "stalled_seconds"),
            *("open_requests", "heartbeat_seconds"),
        )
        for name in sizes:
            if not getattr(self, name) > 0:  # NaN is refused too
                problem = f"{name} is {getattr(self, name)}"
                raise C2TError(problem, hint="give a positive number")


def _is_token(token: str) -> bool:
    """Whether it can stand behind "Bearer" (RFC 6750), and is hard to guess."""
    signs = token.translate(str.maketrans("", "", "-._~+/="))
    return len(token) >= TOKEN_LENGTH_MIN and token.isascii() and signs.isalnum()
