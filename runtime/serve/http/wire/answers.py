"""Answers: a value as JSON, and a file that is sent piece by piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from c2t.runtime.serve.http.wire.listener import Listener
from c2t.runtime.serve.http.wire.pieces import PiecesResponse

PIECE_BYTES = 1 << 20
_encode = msgspec.json.Encoder().encode


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A value of our types as JSON."""
    return Response(_encode(value), status, headers, media_type="application/json")


async def file_response(
    request: Request,
    path: Callable[[], Path],
    *,
    media_type: str,
    stalled_seconds: float,
    download: bool = False,
) -> Response:
    """A file as it is now; it may be removed while it is sent.

    Args:
        path: Finds the file, or makes it; runs in a thread.
        media_type: What it is.
        stalled_seconds: See `PiecesResponse`.
        download: Browsers save it under its own name, and do not show it.
    """

    def begin() -> tuple[BinaryIO, str]:
        found = path()
        return found.open("rb"), found.name

    file, name = await asyncio.to_thread(begin)
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    if download:
        headers["Content-Disposition"] = attachment(name)

    async def pieces() -> AsyncGenerator[bytes, None]:
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

    return PiecesResponse(
        pieces(),
        listener=Listener(request),
        stalled_seconds=stalled_seconds,
        media_type=media_type,
        headers=headers,
    )


def attachment(name: str) -> str:
    """The Content-Disposition of a download (RFC 6266), whatever characters its name has."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
