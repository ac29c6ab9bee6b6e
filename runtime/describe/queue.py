"""Cells that come and go while others are written: what a service puts its requests into.

One decision: a waiting cell is a `concurrent.futures.Future`. Its result is the description, and
cancelling it makes the cell leave, also from the middle of its text. So callers wait, add callbacks
or await as they are used to, and a slow one holds up nobody.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.worker import WINDOW_BATCHES, WaitingCell
from c2t.runtime.system.errors import EngineError

K = TypeVar("K", bound=Hashable)


class DescribeQueue:
    """A queue in front of a describer's workers, each in a thread of its own.

    Args:
        describer: Its engines describe; others may use it meanwhile.
    """

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
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

    def submit(self, cell: EncodedCells) -> Future[Description]:
        """Put one cell into the queue.

        Args:
            cell: A chunk of exactly one cell.

        Returns:
            Its description, once it is written. An error of the cell is in the description.
            `cancel()` makes the cell leave. The future fails with `EngineError` where the engine
            is broken.

        Raises:
            EngineError: The queue is closed.
        """
        future: Future[Description] = Future()
        ((name, tokens, used, error),) = zip(
            cell.ids, cell.tokens, cell.genes_used, cell.errors, strict=True
        )
        with self._changed:
            if self._closed:
                problem = "the queue of cells is closed"
                raise EngineError(problem, hint="open the model again")
            self._waiting.append(WaitingCell(future, str(name), tokens, int(used), error))
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Cells that no worker has begun."""
        return len(self._waiting)

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
            for cell in self._waiting:
                _future(cell.key).cancel()
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take(self, most: int) -> list[WaitingCell]:
        """A worker's fair share of the waiting cells, at most `most` of them."""
        with self._changed:
            share = min(most, -(-len(self._waiting) // len(self._threads)))
            taken: list[WaitingCell] = []
            while self._waiting and len(taken) < share:
                cell = self._waiting.popleft()
                if not _future(cell.key).cancelled():
                    taken.append(cell)
            return taken

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _work(self) -> None:
        """Describe until the queue is closed. A worker is borrowed while there is work for it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
            inbox = _QueueInbox(self)
            try:
                with self._describer.worker() as worker:
                    for key, description in worker.run(inbox):
                        inbox.finish(key, description)
            except Exception as error:  # whoever waits for a cell gets it raised, bugs included
                inbox.fail(error)


class _QueueInbox:
    """The cells of a queue that one worker has taken."""

    def __init__(self, queue: DescribeQueue) -> None:
        self._queue = queue
        self._taken: set[Future[Description]] = set()

    def take(self, most: int, *, wait: bool) -> list[WaitingCell]:
        """See `c2t.runtime.describe.worker.Inbox.take`; an empty queue ends the worker's run."""
        cells = self._queue.take(most)
        self._taken.update(_future(cell.key) for cell in cells)
        return cells

    def has_left(self, key: Hashable) -> bool:
        """See `c2t.runtime.describe.worker.Inbox.has_left`."""
        future = _future(key)
        left = future.cancelled() or (self._queue.closed and future.cancel())
        if left:
            self._taken.discard(future)
        return left

    def finish(self, key: Hashable, description: Description) -> None:
        """Hand a description to whoever waits for it."""
        future = _future(key)
        self._taken.discard(future)
        with suppress(InvalidStateError):  # it was cancelled during its last step
            future.set_result(description)

    def fail(self, error: Exception) -> None:
        """Raise an error where the cells under way are waited for, or all cells if none was."""
        under_way = self._taken or {_future(cell.key) for cell in self._queue.take(sys.maxsize)}
        for future in under_way:
            with suppress(InvalidStateError):
                future.set_exception(error)


def _future(key: Hashable) -> Future[Description]:
    assert isinstance(key, Future)
    return key
