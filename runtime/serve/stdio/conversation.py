"""What is said with one peer, from its first line to its last."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

import c2t
from c2t.runtime.serve.room.analysis_messages import AnnotateRequest, ExplainRequest
from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.room.names_once import check_names_once, check_request
from c2t.runtime.serve.room.questions import AskRequest, QuestionAnalyses
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.ticket import Ticket
from c2t.runtime.serve.room.vector_messages import EmbedRequest, SearchRequest
from c2t.runtime.serve.room.vectors import VectorAnalyses
from c2t.runtime.serve.stdio.analysis import Analysis
from c2t.runtime.serve.stdio.failures import rpc_error
from c2t.runtime.serve.stdio.lines import LongLine, read_lines
from c2t.runtime.serve.stdio.outbox import Begun, Outbox
from c2t.runtime.serve.stdio.wire import (
    PROTOCOL,
    BundleInfo,
    Call,
    CancelParams,
    CancelResult,
    Code,
    DescribeParams,
    Id,
    InitializeParams,
    InitializeResult,
    Limits,
    NoParams,
    OnlyId,
    RpcError,
    error_line,
    result_line,
    shown,
)
from c2t.runtime.system.errors import C2TError

P = TypeVar("P", bound=msgspec.Struct)
A = TypeVar("A", AnnotateRequest, ExplainRequest, AskRequest, EmbedRequest, SearchRequest)
LOG = logging.getLogger(__name__)
LINE_HINT = "send one JSON object in UTF-8 a line"
REQUEST_HINT = 'send one {"jsonrpc": "2.0", "id": …, "method": …, "params": {…}} a line, no list'


@dataclass(frozen=True, kw_only=True)
class StdioOptions:
    """What one peer may ask for.

    Args:
        line_bytes: Longest line that is read.
        requests: Descriptions and analyses that may be under way at a time.
        unsent: Answers that may wait for the peer to read. Then no more of it is read.
    """

    line_bytes: int = 32 << 20
    requests: int = 256
    unsent: int = 64


class Conversation:
    """Answers one peer.

    Args:
        room: Describes.
        source: What the peer says. A read gives what there is.
        sink: Where to answer.
        peer: Who it is, for the audit trail.
    """

    def __init__(
        self,
        room: EngineRoom,
        source: RawIOBase,
        sink: RawIOBase,
        *,
        options: StdioOptions,
        peer: str = "standard input",
    ) -> None:
        self._peer = peer
        self._room = room
        self._source = source
        self._options = options
        self._outbox = Outbox(sink, most_unsent=options.unsent)
        self._initialized = False
        self._stopping = False
        # A peer that does not end its input holds up no process that comes to its end.
        self._reader = threading.Thread(target=self._read, name="c2t-stdio-reader", daemon=True)

    def run(self) -> None:
        """Talk until the peer ends its input, or asks for the end, and all is answered.

        Whatever else ends this, the cells of unanswered requests leave.

        Raises:
            OSError: The peer does not read any more.
        """
        self._reader.start()
        self._outbox.write_all()

    def join(self) -> None:
        """Wait, after `run`, until the peer's input is at its end, too."""
        self._reader.join()

    def stop(self) -> None:
        """Take no more requests; `run` ends when all are answered. Any thread may say so."""
        self._stopping = True
        self._outbox.finish()

    def abandon(self) -> None:
        """End `run` now, as far as it does not wait for the peer to read."""
        self._outbox.close()

    def _read(self) -> None:
        """Answer line by line."""
        let_in(self._peer)
        try:
            for line in read_lines(self._source.read, self._options.line_bytes):
                self._answer(line)
        except OSError as error:
            LOG.debug("cannot read from the peer: %s", error)
        finally:  # also after a bug, which has its traceback on standard error
            self._outbox.finish()

    def _answer(self, line: bytes | LongLine) -> None:
        try:
            if isinstance(line, LongLine):
                problem = f"a line is longer than {self._options.line_bytes:,} bytes"
                raise RpcError(Code.LINE_TOO_LONG, problem, hint="send fewer cells in a request")
            call = _read_call(line)
        except RpcError as error:
            self._outbox.answer(error_line(error.request, error))
            return
        try:
            answer = self._obey(call)
        except RpcError as error:
            answer = _refusal(call, error)
        except Exception:  # a bug of ours ends neither the process nor the conversation
            LOG.exception("%s failed", call.method)
            hint = "the service's standard error has its traceback"
            answer = _refusal(call, RpcError(Code.INTERNAL, "a bug in c2t", hint=hint))
        if answer is not None:
            self._outbox.answer(answer)

    def _obey(self, call: Call) -> bytes | None:
        """What a call is answered with now; None where that comes later, or never."""
        methods: dict[str, Callable[[Call], bytes | None]] = {
            "initialize": self._initialize,
            "describe": self._describe,
            "annotate": self._annotate,
            "explain": self._explain,
            "ask": self._ask,
            "embed": self._embed,
            "search": self._search,
            "cancel": self._cancel,
            "shutdown": self._shut_down,
        }
        if call.method not in methods:
            problem = f"no method {shown(call.method)!r}"
            raise RpcError(Code.UNKNOWN_METHOD, problem, hint=f"its methods: {', '.join(methods)}")
        if call.method != "initialize" and not self._initialized:
            problem = f"{call.method!r} came before `initialize`"
            raise RpcError(Code.NOT_INITIALIZED, problem, hint="send `initialize` first")
        return methods[call.method](call)

    def _initialize(self, call: Call) -> bytes | None:
        params = _params(call, InitializeParams)
        request = _id_of(call)
        if self._initialized:
            problem = "`initialize` came twice"
            raise RpcError(Code.INVALID_REQUEST, problem, hint="send it once, and first")
        if params.protocol != PROTOCOL:
            problem = f"the client speaks protocol {params.protocol}, this is {PROTOCOL}"
            hint = "use a client and a c2t of the same age"
            raise RpcError(Code.INVALID_PARAMS, problem, hint=hint)
        self._initialized = True
        bundle = self._room.model.bundle
        m = bundle.manifest
        result = InitializeResult(
            protocol=PROTOCOL,
            server="c2t",
            version=c2t.__version__,
            bundle=BundleInfo(m.name, bundle.digest, str(m.precision), m.family, m.tasks),
            limits=Limits(self._options.line_bytes, self._options.requests),
        )
        return result_line(request, result)

    def _describe(self, call: Call) -> bytes | None:
        request = self._new(call)
        params = _params(call, DescribeParams)
        request.stream = params.stream

        def start() -> Ticket:
            check_request(bytes(call.params), params)
            wake = partial(self._outbox.wake, request)
            return self._room.describe(params, stream=params.stream, wake=wake)

        return self._begin(request, start)

    def _annotate(self, call: Call) -> bytes | None:
        return self._analyse(call, AnnotateRequest, self._room.analyses.annotate)

    def _explain(self, call: Call) -> bytes | None:
        return self._analyse(call, ExplainRequest, self._room.analyses.explain)

    def _ask(self, call: Call) -> bytes | None:
        return self._analyse(call, AskRequest, QuestionAnalyses(self._room.analyses).ask)

    def _embed(self, call: Call) -> bytes | None:
        return self._analyse(call, EmbedRequest, VectorAnalyses(self._room.analyses).embed)

    def _search(self, call: Call) -> bytes | None:
        return self._analyse(call, SearchRequest, VectorAnalyses(self._room.analyses).search)

    def _analyse(self, call: Call, kind: type[A], analyse: Callable[..., Any]) -> bytes | None:
        """Begin what is answered in one piece.

        Args:
            call: What was called.
            kind: Of its params.
            analyse: Answers them; told by `unwanted` whether somebody still waits.
        """
        request = self._new(call)
        params = _params(call, kind)

        def work(unwanted: Callable[[], bool]) -> Any:
            check_names_once(bytes(call.params), params.cells, beside=0)
            return analyse(params, unwanted=unwanted)

        wake = partial(self._outbox.wake, request)
        return self._begin(request, partial(Analysis, work, wake))

    def _new(self, call: Call) -> Begun:
        """A request that wants to be under way.

        Raises:
            RpcError: It has no id, the service is stopping, or too many are under way.
        """
        request = Begun(_id_of(call), stream=False)
        if self._stopping:
            hint = "start the service again"
            raise RpcError(Code.STOPPING, "the service is stopping", hint=hint)
        if self._outbox.under_way >= self._options.requests:
            problem = f"{self._options.requests} requests are under way"
            hint = "wait for an answer, or send more cells in one request"
            raise RpcError(Code.OVERLOADED, problem, hint=hint, retry_after=1)
        return request

    def _begin(self, request: Begun, start: Callable[[], Ticket | Analysis]) -> bytes | None:
        """Start a request, which is answered later; what it is answered with now, if not.

        Raises:
            RpcError: It is refused.
        """
        if not self._outbox.reserve(request):
            # Without this id, which would answer the other request.
            problem = f"the id {request.id!r} belongs to a request under way"
            error = RpcError(Code.INVALID_REQUEST, problem, hint="give each request its own id")
            return error_line(None, error)
        begun = False
        try:
            ticket = start()
            begun = True
        except C2TError as error:
            raise rpc_error(error) from None
        finally:
            if not begun:
                self._outbox.drop(request.id)
        self._outbox.begin(request, ticket)
        return None

    def _cancel(self, call: Call) -> bytes | None:
        wanted = _params(call, CancelParams).id
        was_under_way = self._outbox.drop(wanted)
        if was_under_way:
            error = RpcError(Code.CANCELLED, "the request was cancelled", hint="send it again")
            self._outbox.answer(error_line(wanted, error))
        return None if call.id is UNSET else result_line(call.id, CancelResult(was_under_way))

    def _shut_down(self, call: Call) -> None:
        _params(call, NoParams)
        last = None if call.id is UNSET else result_line(call.id, None)
        if self._stopping:
            problem = "`shutdown` came twice"
            raise RpcError(Code.INVALID_REQUEST, problem, hint="wait for its answer")
        self._stopping = True
        self._outbox.finish(last)


def _read_call(line: bytes) -> Call:
    """Read a request.

    Raises:
        RpcError: It is none. The error has its id, where that can be read.
    """
    try:
        return msgspec.json.decode(line, type=Call)
    except msgspec.ValidationError as error:
        try:
            request = msgspec.json.decode(line, type=OnlyId).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            request = None
        problem = f"not a request: {shown(str(error))}"
        raise RpcError(Code.INVALID_REQUEST, problem, hint=REQUEST_HINT, request=request) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RpcError(Code.PARSE, shown(str(error)), hint=LINE_HINT) from None


def _refusal(call: Call, error: RpcError) -> bytes | None:
    """What a call that failed is answered with. A notification is answered only if it is none."""
    if call.id is UNSET:
        LOG.warning("%s failed: %s", shown(call.method), error.data.problem)
        if error.code is not Code.INVALID_REQUEST:
            return None
        return error_line(None, error)
    return error_line(call.id, error)


def _id_of(call: Call) -> Id:
    """The id of a call that needs an answer."""
    if call.id is UNSET:
        problem = f"{call.method!r} has no id"
        raise RpcError(Code.INVALID_REQUEST, problem, hint="give it one, to be answered")
    return call.id


def _params(call: Call, kind: type[P]) -> P:
    """The params of a call.

    Raises:
        RpcError: They are not of this kind.
    """
    try:
        return msgspec.json.decode(call.params, type=kind)
    except msgspec.ValidationError as error:
        problem = f"{call.method}: {shown(str(error))}"
        hint = f"it takes an object of: {', '.join(kind.__struct_fields__) or 'nothing'}"
        raise RpcError(Code.INVALID_PARAMS, problem, hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RpcError(Code.PARSE, shown(str(error)), hint=LINE_HINT) from None
