"""Cells that come and go while others are written: what a service puts its requests into.

One decision: a waiting cell is a `concurrent.futures.Future`. Its result is the description, and
cancelling it makes the cell leave, also from the middle of its text. So callers wait, add callbacks
or await as they are used to, and a slow one holds up nobody.

Urgent cells, for which somebody waits, go before those of long files: they take the next batch row
that becomes free. Now and then another cell has its turn, so that no file waits for ever.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol, TypeVar

from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.inbox import WaitingCell
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.system.errors import EngineError

K = TypeVar("K", bound=Hashable)
OnTokens = Callable[[Sequence[int]], None]


class QueueObserver(Protocol):
    """Told what happens in a queue, in a worker's thread; must be quick. All times in seconds."""

    def cell_waited(self, seconds: float) -> None:
        """A worker took a cell that had waited so long."""

    def batch(self, cells: int) -> None:
        """A worker took cells, and now has so many in hand, those that it was writing included."""

    def first_token(self, seconds: float) -> None:
        """A cell has its first tokens, so long after it was submitted."""

    def token_time(self, seconds: float) -> None:
        """A text is finished; each token after the first ones took so long."""


class DescribeQueue:
    """A queue in front of a describer's workers, each in a thread of its own.

    Args:
        describer: Its engines describe; others may use it meanwhile.
        observer: Told what happens.
    """

    def __init__(self, describer: Describer, observer: QueueObserver | None = None) -> None:
        self._describer = describer
        self._observer = observer
        self._urgent: deque[WaitingCell] = deque()
        self._waiting: deque[WaitingCell] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"c2t-queue-{number}", daemon=True)
            for number in range(describer.most_workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DescribeQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        cell: EncodedCells,
        *,
        urgent: bool = False,
        embed: bool = False,
        on_tokens: OnTokens | None = None,
    ) -> Future[Description]:
        """Put one cell into the queue.

        Args:
            cell: A chunk of exactly one cell.
            urgent: It goes before all that are not.
            embed: The description has the mean of the cell vectors.
            on_tokens: Given after a step what the unfinished text has so far, in a worker's
                thread; it must be quick, and copy what it keeps. Beams have no unfinished text.

        Returns:
            Its description, once it is written. An error of the cell is in the description.
            `cancel()` makes the cell leave. The future fails with `EngineError` where the engine
            is broken.

        Raises:
            EngineError: The queue is closed.
        """
        future = _CellFuture(on_tokens)
        ((name, tokens, used, error),) = zip(
            cell.ids, cell.tokens, cell.genes_used, cell.errors, strict=True
        )
        with self._changed:
            if self._closed:
                problem = "the queue of cells is closed"
                raise EngineError(problem, hint="open the model again")
            waiting = WaitingCell(future, str(name), tokens, int(used), error, embed)
            (self._urgent if urgent else self._waiting).append(waiting)
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Cells that no worker has begun."""
        return self.waiting_urgent + _not_cancelled(self._waiting)

    @property
    def waiting_urgent(self) -> int:
        """The urgent ones of them."""
        return _not_cancelled(self._urgent)

    def describe(self, cells: Iterable[tuple[K, EncodedCells]]) -> Iterator[tuple[K, Description]]:
        """Describe cells, each handed over as soon as it is written.

        Args:
            cells: Key and cell. Only as many are taken ahead as keep the workers busy.

        Yields:
            Key and description.
        """
        ahead = 2 * WINDOW_BATCHES * self._describer.options.batch_size * len(self._threads)
        done: SimpleQueue[Future[Description]] = SimpleQueue()
        pending: dict[Future[Description], K] = {}
        source = iter(cells)
        exhausted = False
        try:
            while True:
                while not exhausted and len(pending) < ahead:
                    following = next(source, None)
                    if following is None:
                        exhausted = True
                        break
                    future = self.submit(following[1])
                    pending[future] = following[0]
                    future.add_done_callback(done.put)
                if not pending:
                    return
                future = done.get()
                yield pending.pop(future), future.result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Let no more cells in; cells that wait or are being written are cancelled."""
        with self._changed:
            self._closed = True
            for cell in (*self._urgent, *self._waiting):
                _future(cell.key).cancel()
            self._urgent.clear()
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take(self, most: int) -> list[WaitingCell]:
        """A worker's fair share of the cells that are not urgent, at most `most` of them."""
        with self._changed:
            return self._share(self._waiting, most)

    def take_urgent(self, most: int) -> list[WaitingCell]:
        """The same of the urgent ones."""
        if not self._urgent:  # asked before every cell: no lock
            return []
        with self._changed:
            return self._share(self._urgent, most)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _share(self, waiting: deque[WaitingCell], most: int) -> list[WaitingCell]:
        share = min(most, -(-len(waiting) // len(self._threads)))
        taken: list[WaitingCell] = []
        while waiting and len(taken) < share:
            cell = waiting.popleft()
            if not _future(cell.key).cancelled():
                taken.append(cell)
        return taken

    def _work(self) -> None:
        """Describe until the queue is closed. A worker is borrowed while there is work for it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._urgent or self._waiting or self._closed)
                if self._closed:
                    return
            inbox = _QueueInbox(self, self._observer)
            try:
                with self._describer.worker() as worker:
                    for key, description in worker.run(inbox):
                        inbox.finish(key, description)
            except Exception as error:  # whoever waits for a cell gets it raised, bugs included
                inbox.fail(error)


class _QueueInbox:
    """The cells of a queue that one worker has taken."""

    watched = True

    def __init__(self, queue: DescribeQueue, observer: QueueObserver | None) -> None:
        self._queue = queue
        self._observer = observer
        self._taken: set[Future[Description]] = set()

    def take(self, most: int, *, wait: bool) -> list[WaitingCell]:
        """See `c2t.runtime.describe.inbox.Inbox.take`; an empty queue ends the worker's run."""
        return self._took(self._queue.take(most))

    def take_urgent(self, most: int) -> list[WaitingCell]:
        """See `c2t.runtime.describe.inbox.Inbox.take_urgent`."""
        return self._took(self._queue.take_urgent(most))

    def _took(self, cells: list[WaitingCell]) -> list[WaitingCell]:
        self._taken.update(_future(cell.key) for cell in cells)
        if self._observer is not None and cells:
            now = time.perf_counter()
            for cell in cells:
                self._observer.cell_waited(now - _future(cell.key).submitted)
            self._observer.batch(len(self._taken))
        return cells

    def has_left(self, key: Hashable) -> bool:
        """See `c2t.runtime.describe.inbox.Inbox.has_left`."""
        future = _future(key)
        left = future.cancelled() or (self._queue.closed and future.cancel())
        if left:
            self._taken.discard(future)
        return left

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """See `c2t.runtime.describe.inbox.Inbox.wrote`."""
        future = _future(key)
        if future.began is None:
            future.began = (time.perf_counter(), len(token_ids))
            if self._observer is not None:
                self._observer.first_token(future.began[0] - future.submitted)
        if future.on_tokens is not None:
            future.on_tokens(token_ids)

    def finish(self, key: Hashable, description: Description) -> None:
        """Hand a description to whoever waits for it."""
        future = _future(key)
        self._taken.discard(future)
        if self._observer is not None and future.began is not None:
            since, tokens = future.began
            if len(description.tokens) > tokens:
                seconds = time.perf_counter() - since
                self._observer.token_time(seconds / (len(description.tokens) - tokens))
        with suppress(InvalidStateError):  # it was cancelled during its last step
            future.set_result(description)

    def fail(self, error: Exception) -> None:
        """Raise an error where the cells under way are waited for, or all cells if none was."""
        under_way = self._taken or {_future(cell.key) for cell in self._queue.take(sys.maxsize)}
        for future in under_way:
            with suppress(InvalidStateError):
                future.set_exception(error)


class _CellFuture(Future[Description]):
    """A waiting cell, with who listens to its text and when it began (seconds, tokens then)."""

    def __init__(self, on_tokens: OnTokens | None) -> None:
        super().__init__()
        self.on_tokens = on_tokens
        self.submitted = time.perf_counter()
        self.began: tuple[float, int] | None = None


def _not_cancelled(waiting: deque[WaitingCell]) -> int:
    """How many still want a text; the others are dropped when a worker comes to them."""
    return sum(not _future(cell.key).cancelled() for cell in tuple(waiting))


def _future(key: Hashable) -> _CellFuture:
    assert isinstance(key, _CellFuture)
    return key
