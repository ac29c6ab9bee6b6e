"""The lines of the protocol: JSON-RPC 2.0, one UTF-8 line each way.

`initialize` comes first. `describe` is answered when its cells are written, and many may be under
way at a time. With `stream`, notifications that carry the request's id come before its answer.

`annotate` compares labels for cells, `explain` says what the texts of cells rest on; their params
are `AnnotateRequest` and `ExplainRequest` of `c2t.runtime.serve.room.analysis_messages`. `ask` asks
a question; its params are `AskRequest` of `c2t.runtime.serve.room.questions`. `embed` gives vectors
of cells, `search` compares texts with cells; their params are `EmbedRequest` and `SearchRequest` of
`c2t.runtime.serve.room.vector_messages`. All are answered when all cells are done, without
notifications; of all doors together, one is done at a time and few wait. `cancel` takes the id of
any of these. Who finds no such method speaks to an older service: the protocol is the same.

One decision: an error has its two lines in `data` (`problem`, `hint`), as at every other door;
`message` repeats the problem for clients that know JSON-RPC only.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from c2t.runtime.serve.room.messages import CellResult, DescribeRequest

PROTOCOL = 1
ID_MAX = 256  # characters; it comes back with every notification
SHOWN = 400  # characters of a stranger's text in a message

# Other programs keep whole numbers exactly up to here.
Number = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]
Id = Number | Annotated[str, Meta(max_length=ID_MAX)]


class Code(IntEnum):
    """Codes of errors. Those of JSON-RPC, then our own."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    CELLS = -32001  # what the cells or settings hold cannot be described
    OVERLOADED = -32002  # `data.retry_after`: seconds
    ENGINE = -32003
    CANCELLED = -32004
    NOT_INITIALIZED = -32005
    LINE_TOO_LONG = -32006
    STOPPING = -32007


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """A request, or a notification where it has no id."""

    jsonrpc: Literal["2.0"]
    method: str
    id: Id | UnsetType = UNSET
    params: Raw = Raw(b"{}")


class OnlyId(msgspec.Struct):
    """What a wrong request is answered by."""

    id: Id | None = None


class InitializeParams(msgspec.Struct, forbid_unknown_fields=True):
    """Params of `initialize`.

    Args:
        protocol: The version that the client speaks.
        client: Its name, for the log.
    """

    protocol: int
    client: Annotated[str, Meta(max_length=256)] = ""


class BundleInfo(msgspec.Struct):
    """The opened bundle."""

    name: str
    digest: str  # SHA-256 of its manifest, which holds the hash of every file
    precision: str
    family: str  # whose kind of model it is
    tasks: tuple[str, ...]  # what it can do


class Limits(msgspec.Struct):
    """What the service takes."""

    line_bytes: int
    requests: int


class InitializeResult(msgspec.Struct):
    """The answer to `initialize`."""

    protocol: int
    server: str
    version: str
    bundle: BundleInfo
    limits: Limits


class DescribeParams(DescribeRequest, forbid_unknown_fields=True):
    """Params of `describe`: a request as at every door, and whether to hear of it meanwhile."""

    stream: bool = False


class CancelParams(msgspec.Struct, forbid_unknown_fields=True):
    """Params of `cancel`: the id of a request under way, of any method."""

    id: Id


class NoParams(msgspec.Struct, forbid_unknown_fields=True):
    """Params of `shutdown`."""


class CancelResult(msgspec.Struct):
    """The answer to `cancel`: false where the request had been answered, or never came."""

    cancelled: bool


class TextParams(msgspec.Struct):
    """`text`: from its character `start` on, the text of a cell of request `id` is now `text`."""

    id: Id
    cell: int
    start: int
    text: str


class CellParams(msgspec.Struct):
    """`cell`: one cell of request `id` is finished."""

    id: Id
    cell: int
    result: CellResult


class ProgressParams(msgspec.Struct):
    """`progress`: how many cells of request `id` are finished. The first says that it waits."""

    id: Id
    done: int
    cells: int


class ErrorData(msgspec.Struct, omit_defaults=True):
    """The two lines of an error, and when to try again."""

    problem: str
    hint: str
    retry_after: int | UnsetType = UNSET


class RpcError(Exception):
    """What a request is answered with instead of a result.

    Args:
        retry_after: Seconds, where it is worth trying again.
        request: The id of what is no request.
    """

    def __init__(
        self,
        code: Code,
        problem: str,
        *,
        hint: str,
        retry_after: int | UnsetType = UNSET,
        request: Id | None = None,
    ) -> None:
        super().__init__(problem)
        self.code = code
        self.data = ErrorData(problem, hint, retry_after)
        self.request = request


def result_line(request: Id, result: Any) -> bytes:
    """An answer."""
    return _line({"jsonrpc": "2.0", "id": request, "result": result})


def error_line(request: Id | None, error: RpcError) -> bytes:
    """An answer that something was refused or failed."""
    content = {"code": int(error.code), "message": error.data.problem, "data": error.data}
    return _line({"jsonrpc": "2.0", "id": request, "error": content})


def notification_line(method: str, params: TextParams | CellParams | ProgressParams) -> bytes:
    """A message that has no answer."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def shown(text: str) -> str:
    """A stranger's text, cut to what a message has room for."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _line(message: dict[str, Any]) -> bytes:
    # JSON has no bare line feeds: inside strings they are escaped.
    return msgspec.json.encode(message) + b"\n"
