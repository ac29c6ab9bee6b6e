"""What goes to a peer: answers, and what happened to the requests that are under way.

One decision: a request that has news is marked, and what it says is made when the peer has read
what came before. So a peer that reads slowly gets fewer and larger pieces, memory stays bounded,
and nobody else waits for it.
"""

from __future__ import annotations

import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase

from c2t.runtime.serve.room.ticket import TextPiece, Ticket
from c2t.runtime.serve.stdio.analysis import Analysis
from c2t.runtime.serve.stdio.failures import rpc_error
from c2t.runtime.serve.stdio.wire import (
    CellParams,
    Id,
    ProgressParams,
    RpcError,
    TextParams,
    error_line,
    notification_line,
    result_line,
)
from c2t.runtime.system.errors import C2TError

GONE_SECONDS = 0.5  # between looks whether a peer that has ended its input still reads
# Windows does not interrupt a wait for Ctrl-C: there, look up this often.
LOOK_UP_SECONDS = 0.5 if sys.platform == "win32" else None


@dataclass(eq=False)
class Begun:
    """A `describe`, `annotate` or `explain` that has not been answered.

    Attributes:
        id: Its id.
        stream: Whether the peer wants to hear of it meanwhile.
        ticket: What will have the answer; None until it is under way.
        done: Cells that are finished, of which the peer was told.
        told: Whether the peer was told of it at all.
    """

    id: Id
    stream: bool
    ticket: Ticket | Analysis | None = None
    done: int = 0
    told: bool = False


class Outbox:
    """Writes to one peer. One thread runs `write_all`; another says what there is to write.

    Args:
        stream: Where to write. It may write less than it is given.
        most_unsent: Answers that may wait for the peer to read; then `answer` waits.
    """

    def __init__(self, stream: RawIOBase, *, most_unsent: int) -> None:
        self._stream = stream
        self._most_unsent = most_unsent
        self._changed = threading.Condition()
        self._answers: deque[bytes] = deque()
        self._begun: dict[Id, Begun] = {}
        self._news: dict[Begun, None] = {}  # in the order in which they had some
        self._last: bytes | None = None
        self._ending = False
        self._closed = False

    def answer(self, line: bytes) -> None:
        """Write a line; wait where the peer has not read many others."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._answers) < self._most_unsent or self._closed)
            if not self._closed:
                self._answers.append(line)
            self._changed.notify_all()

    @property
    def under_way(self) -> int:
        """Requests that are not answered."""
        return len(self._begun)

    def reserve(self, request: Begun) -> bool:
        """Let a request have its id; false where another under way has it."""
        with self._changed:
            if request.id in self._begun:
                return False
            self._begun[request.id] = request
            return True

    def begin(self, request: Begun, ticket: Ticket | Analysis) -> None:
        """The room has taken a request whose id is reserved."""
        with self._changed:
            request.ticket = ticket
            if self._closed:
                ticket.cancel()
            self._news[request] = None
            self._changed.notify_all()

    def wake(self, request: Begun) -> None:
        """There is something to tell of a request; any thread may say so."""
        with self._changed:
            if request.ticket is not None:  # else `begin` is to come, and marks it
                self._news[request] = None
                self._changed.notify_all()

    def drop(self, request: Id) -> bool:
        """Say no more of a request, whose answer another gives; whether it was under way."""
        with self._changed:
            dropped = self._begun.pop(request, None)
            if dropped is None:
                return False
            self._news.pop(dropped, None)
            self._changed.notify_all()
        if dropped.ticket is not None:
            dropped.ticket.cancel()
        return True

    def finish(self, last: bytes | None = None) -> None:
        """Let `write_all` end when every request is answered, with a last line."""
        with self._changed:
            if not self._ending:
                self._ending, self._last = True, last
            self._changed.notify_all()

    def close(self) -> None:
        """Write no more; the cells of all requests leave."""
        with self._changed:
            self._closed = True
            left = list(self._begun.values())
            self._begun.clear()
            self._news.clear()
            self._changed.notify_all()
        for request in left:
            if request.ticket is not None:
                request.ticket.cancel()

    def write_all(self) -> None:
        """Write until all is answered after `finish`, or until `close`.

        Raises:
            OSError: The peer is gone.
        """
        try:
            while not self._closed:
                for line in self._lines():
                    self._write(line)
                with self._changed:
                    while not self._something():
                        self._changed.wait(GONE_SECONDS if self._ending else LOOK_UP_SECONDS)
                        if self._ending and self._nobody_reads():
                            raise BrokenPipeError
                    if self._ending and not (self._answers or self._begun):
                        break
            if self._last is not None and not self._closed:
                self._write(self._last)
        finally:
            self.close()

    def _something(self) -> bool:
        ended = self._closed or (self._ending and not self._begun)
        return bool(ended or self._answers or self._news)

    def _nobody_reads(self) -> bool:
        """Whether the peer is gone, which a wait for its cells would not find out."""
        if not hasattr(select, "poll"):
            return False  # on Windows the next line that cannot be written says so
        poll = select.poll()
        poll.register(self._stream.fileno(), 0)  # that it is gone is always told
        return bool(poll.poll(0))

    def _lines(self) -> Iterator[bytes]:
        """What there is to write now."""
        with self._changed:
            answers = list(self._answers)
            self._answers.clear()
            news = list(self._news)
            self._news.clear()
            self._changed.notify_all()
        yield from answers
        for request in news:
            yield b"".join(self._news_of(request))

    def _news_of(self, request: Begun) -> Iterator[bytes]:
        ticket = request.ticket
        if ticket is None or self._begun.get(request.id) is not request:
            return  # cancelled meanwhile
        finished = ticket.finished  # before `take`, which then leaves nothing
        if request.stream and isinstance(ticket, Ticket):
            yield from self._heard(request, ticket)
        if not finished:
            return
        with self._changed:
            if self._begun.get(request.id) is not request:
                return
            del self._begun[request.id]
        try:
            yield result_line(request.id, ticket.response())
        except C2TError as error:
            yield error_line(request.id, rpc_error(error))
        except RpcError as error:
            yield error_line(request.id, error)

    def _heard(self, request: Begun, ticket: Ticket) -> Iterator[bytes]:
        cells = 0
        if not request.told:  # said first, even where cells are finished already
            request.told = True
            yield notification_line("progress", ProgressParams(request.id, 0, ticket.cells))
        try:
            events = ticket.take()
        except C2TError:  # the answer says so
            return
        for event in events:
            if isinstance(event, TextPiece):
                text = TextParams(request.id, event.cell, event.start, event.text)
                yield notification_line("text", text)
            else:
                cells += 1
                cell = CellParams(request.id, event.cell, event.result)
                yield notification_line("cell", cell)
        if cells:
            request.done += cells
            progress = ProgressParams(request.id, request.done, ticket.cells)
            yield notification_line("progress", progress)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) or 0 :]
