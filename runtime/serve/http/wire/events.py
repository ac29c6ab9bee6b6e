"""Server-sent events: their form, and the answer that they make.

A comment is sent now and then into a silent stream, so that proxies keep it open.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.responses import Response

from c2t.runtime.serve.http.options import HttpOptions
from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.http.wire.pieces import PiecesResponse

EVENTS_TYPE = "text/event-stream"
HEARTBEAT = b":\n\n"
_encode = msgspec.json.Encoder().encode


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One event.

    Args:
        name: What happened.
        data: Sent as JSON, which has no line breaks.
        number: Its id; who comes back sends the last one as `Last-Event-ID`.
    """
    identity = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (identity, name.encode("ascii"), _encode(data))


def event_response(
    events: AsyncGenerator[bytes, None], listener: Listener, options: HttpOptions
) -> Response:
    """Sends events until their generator ends, or the client has gone."""
    return PiecesResponse(
        events,
        listener=listener,
        stalled_seconds=options.stalled_seconds,
        media_type=EVENTS_TYPE,
        headers={"X-Accel-Buffering": "no"},  # nginx would keep events back
    )
