"""The page: its files, read once when the service starts.

Only names that were there then are answered, so no address ever becomes a path. The page loads
nothing from elsewhere and is embedded nowhere: its Content-Security-Policy says so to the browser.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from c2t.runtime.serve.http.wire.problems import HttpError

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The browser asks each time whether its copy is still right: a new version is seen at once.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """One file, as it is sent."""

    body: bytes
    gzipped: bytes | None  # None where that would save little
    media_type: str
    tag: str


def load_page(folder: Path = FOLDER) -> dict[str, PageFile]:
    """The files of the page, by the path at which they are asked for."""
    found: dict[str, PageFile] = {}
    for file in sorted(folder.rglob("*")):
        media_type = TYPES.get(file.suffix)
        if media_type is None or not file.is_file():
            continue
        body = file.read_bytes()
        gzipped = gzip.compress(body, 9, mtime=0)
        name = file.relative_to(folder).as_posix()
        found["/" if name == INDEX else f"/{name}"] = PageFile(
            body=body,
            gzipped=gzipped if len(gzipped) < 0.9 * len(body) else None,
            media_type=media_type,
            tag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        )
    return found


class PageRoute:
    """Answers with files of the page.

    Args:
        files: By path.
    """

    def __init__(self, files: dict[str, PageFile]) -> None:
        self._files = files

    async def answer(self, request: Request) -> Response:
        """`GET` or `HEAD` of a file."""
        file = self._files.get(request.scope["path"])
        if file is None:  # a route's pattern took a path that is not exactly a name
            raise HttpError(404, "there is no such file", hint="the page is at /")
        headers = {**HEADERS, "ETag": file.tag}
        known = request.headers.get("if-none-match", "")
        if file.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        body = file.body
        if file.gzipped is not None and _takes_gzip(request):
            body = file.gzipped
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, media_type=file.media_type)


def _takes_gzip(request: Request) -> bool:
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
