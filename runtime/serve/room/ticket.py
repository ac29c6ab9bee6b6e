"""A request in the room: what has happened to its cells, kept for a reader who may be slow.

One decision: workers leave the newest state of each cell here, never a list of what happened. So a
reader that takes nothing for an hour costs no more memory than its texts, and holds up nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future

import msgspec

from c2t.runtime.audit.line import Details
from c2t.runtime.audit.texts import TextsHash
from c2t.runtime.describe.confidence import BROKEN
from c2t.runtime.describe.description import Description
from c2t.runtime.serve.room.audit import RequestAudit
from c2t.runtime.serve.room.messages import CellResult, DescribeResponse, cell_result
from c2t.runtime.system.errors import AuditError, C2TError, EngineError

Decode = Callable[[Sequence[int]], str]


class TextPiece(msgspec.Struct, tag="text", frozen=True):
    """More of a text that is being written.

    Args:
        cell: Place of the cell in the request.
        start: From this character on, the text is now `text`; nearly always where it ended.
        text: The piece.
    """

    cell: int
    start: int
    text: str


class CellDone(msgspec.Struct, tag="cell", frozen=True):
    """A cell is finished.

    Args:
        cell: Place of the cell in the request.
        result: What there is to say of it.
    """

    cell: int
    result: CellResult


Event = TextPiece | CellDone


class Ticket:
    """The cells of a request. Threads may share it.

    Args:
        cells: How many.
        warnings: What is doubtful about the request as a whole.
        decode: Text of a sequence of text tokens; None: nobody reads unfinished texts.
        wake: Called in a worker's thread when there is something new to take; without `decode`,
            when all cells are finished.
        leave: Called once, when no cell is under way any more.
        audit: Writes the request's lines. Nothing is given before them; None: there are none.
    """

    def __init__(
        self,
        cells: int,
        warnings: Sequence[str],
        *,
        decode: Decode | None = None,
        wake: Callable[[], None] | None = None,
        leave: Callable[[], None] | None = None,
        audit: RequestAudit | None = None,
    ) -> None:
        self.cells = cells
        self.warnings = tuple(warnings)
        self._decode = decode
        self._wake = wake
        self._leave = leave
        self._changed = threading.Condition()
        self._futures: list[Future[Description]] = []
        self._results: list[CellResult | None] = [None] * cells
        self._left = cells
        self._error: C2TError | None = None
        self._cancelled = False
        self._tokens: dict[int, tuple[int, ...]] = {}  # of unfinished texts, not taken yet
        self._sent: dict[int, str] = {}
        self._done: deque[int] = deque()  # finished cells that were not taken yet
        self._woken = False  # and nothing was taken since
        self._audit = audit
        self._recorded = audit is None  # the line about its end, so it may be finished
        self._withheld: AuditError | None = None  # why nothing is given
        self._may_give = audit is None  # there is a line that says that texts are given
        if audit is not None and decode is not None:
            audit.begin(self._begun)

    @property
    def finished(self) -> bool:
        """Whether no cell is under way any more, and all may be given."""
        return self._left == 0 and self._recorded

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Let the cells leave, also from the middle of their texts."""
        with self._changed:
            self._cancelled = True
            futures = list(self._futures)
        for future in futures:
            future.cancel()

    def take(self) -> list[Event]:
        """What happened since the last call, in few pieces.

        Raises:
            EngineError: The engine is broken, or the service stopped.
            AuditError: There is no line about it.
        """
        with self._changed:
            self._woken = False
            if self._withheld is not None:
                raise self._withheld
            if not self._may_give:
                return []
            tokens, self._tokens = self._tokens, {}
            done = list(self._done)
            self._done.clear()
            error = self._error
        events: list[Event] = []
        if self._decode is not None:
            for cell, ids in tokens.items():
                self._piece(cell, self._decode(ids).rstrip(BROKEN), events)
        for cell in done:
            result = self._results[cell]
            assert result is not None
            if self._decode is not None and result.text is not None:
                self._piece(cell, result.text, events)
                self._sent.pop(cell, None)
            events.append(CellDone(cell, result))
        if error is not None and not events:
            raise error
        return events

    def wait(self, timeout: float | None = None) -> DescribeResponse:
        """Wait until all cells are finished.

        Args:
            timeout: In seconds.

        Raises:
            EngineError: The engine is broken, the service stopped, or the time is over.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.finished, timeout):
                problem = f"{self._left:,} of {self.cells:,} cells are not finished after "
                problem += f"{timeout:g} s"
                raise EngineError(problem, hint="send fewer cells at a time, or wait longer")
        return self.response()

    def response(self) -> DescribeResponse:
        """All results, once the cells are finished.

        Raises:
            EngineError: The engine is broken, the service stopped, or the request was cancelled.
        """
        if self._error is not None:
            raise self._error
        cells = [result for result in self._results if result is not None]
        if len(cells) < self.cells or not self._recorded:
            problem = "the request was cancelled" if self._cancelled else "cells are under way"
            raise EngineError(problem, hint="send it again")
        return DescribeResponse(cells=cells, warnings=list(self.warnings))

    def wrote(self, cell: int, token_ids: Sequence[int]) -> None:
        """Told by a worker what an unfinished text has so far."""
        with self._changed:
            self._tokens[cell] = tuple(token_ids)
            wake = self._waking()
        if wake is not None:
            wake()

    def watch(self, future: Future[Description]) -> None:
        """Add the next cell's future; `cells` of them will come."""
        with self._changed:
            place = len(self._futures)
            self._futures.append(future)
            cancelled = self._cancelled
        future.add_done_callback(lambda ended: self._end(place, ended))
        if cancelled:
            future.cancel()

    def _end(self, cell: int, future: Future[Description]) -> None:
        result: CellResult | None = None
        error: C2TError | None = None
        try:
            result = cell_result(future.result())
        except CancelledError:
            if not self._cancelled:
                error = EngineError("the service stopped", hint="send the cells again")
        except C2TError as failure:
            error = failure
        except Exception as bug:  # of a worker; whoever waits must not wait for ever
            error = EngineError("the engine failed", hint="see the log of the service")
            error.__cause__ = bug
        with self._changed:
            self._left -= 1
            self._tokens.pop(cell, None)
            if result is not None:
                self._results[cell] = result
                self._done.append(cell)
            self._error = self._error or error
            last = self._left == 0
            if last and self._recorded:
                self._changed.notify_all()
            wakes = (last and self._recorded) or self._decode is not None
            wake = self._waking() if wakes else None
        if last and self._audit is not None:
            self._audit.end(self._found, self._ended)
        elif last and self._leave is not None:
            self._leave()
        if wake is not None:
            wake()

    def _found(self) -> Details:
        """What the trail is told of the end."""
        texts = TextsHash()
        for result in self._results:
            if result is not None:
                texts.add(result.cell, result.text, result.error)
        error, missing = self._error, self.cells - texts.cells
        how = f"cancelled; {missing:,} cells were not described" if missing else "done"
        return Details(
            cells=texts.cells,
            failed=texts.failed,
            text_sha256=texts.hexdigest(),
            result="failed" if error else how,
            problem=error.problem if error else "",
        )

    def _begun(self, error: AuditError | None) -> None:
        """The line that says that texts are given is on the disk, or is not."""
        if error is not None:
            self._withhold(error)
            self.cancel()
        with self._changed:
            self._may_give = True
            wake = self._waking()
        if wake is not None:
            wake()

    def _ended(self, error: AuditError | None) -> None:
        """The line about the end is on the disk, or is not."""
        if error is not None:
            self._withhold(error)
        with self._changed:
            self._recorded = self._may_give = True
            self._changed.notify_all()
            wake = self._waking()
        if self._leave is not None:
            self._leave()
        if wake is not None:
            wake()

    def _withhold(self, error: AuditError) -> None:
        """Give nothing of what there is: nobody could tell later that it was given."""
        with self._changed:
            self._error = self._withheld = error
            self._tokens.clear()
            self._done.clear()

    def _waking(self) -> Callable[[], None] | None:
        """What to call outside the lock, if its call is not under way already."""
        if self._woken:
            return None
        self._woken = True
        return self._wake

    def _piece(self, cell: int, text: str, events: list[Event]) -> None:
        sent = self._sent.get(cell, "")
        if text == sent:
            return
        # A tokenizer may join a space to the next word: then the end of what was sent changes.
        start = len(sent) if text.startswith(sent) else _common(sent, text)
        self._sent[cell] = text
        events.append(TextPiece(cell, start, text[start:]))


def _common(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    length = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        length += 1
    return length
