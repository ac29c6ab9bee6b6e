"""The least that a request over HTTP costs here: the same body decoded, and a fixed answer.

`python -m benchmarks.serve.bare` prints its address and serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from c2t.runtime.serve.room.messages import DescribeRequest

ANSWER = b'{"cells": [{"cell": "cell", "text": "' + b"word " * 80 + b'"}], "warnings": []}'
decoder = msgspec.json.Decoder(DescribeRequest)


async def describe(request: Request) -> Response:
    """Decode the cells; they are not described."""
    decoder.decode(await request.body())
    return Response(ANSWER, media_type="application/json")


def main() -> None:
    """Serve on a free port of this machine."""
    app = Starlette(routes=[Route("/v1/describe", describe, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # asyncio sets this only on sockets that it made itself.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, http="h11", loop="asyncio", log_level="error")
        asyncio.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
