"""The queues of a room: one for each way of describing that is in use.

Settings such as the length of a text belong to a worker's buffers. So cells with other settings
wait in a queue of their own, over the same engines. Few are open at a time, and one that nobody
uses makes room for a new one: strangers may ask for many settings.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from c2t.runtime.cells.option_words import options_as_fields
from c2t.runtime.describe.describer import DescribeOptions, check_options
from c2t.runtime.describe.model import Model
from c2t.runtime.describe.queue import DescribeQueue
from c2t.runtime.serve.room.limits import OverloadedError
from c2t.runtime.serve.room.observer import Observer
from c2t.runtime.system.errors import C2TError


@dataclass
class _Open:
    queue: DescribeQueue
    users: int = 0


class Queues:
    """Queues by their options.

    Args:
        model: What describes.
        most: Queues that are open at a time.
        observer: Told what happens in them.
    """

    def __init__(self, model: Model, most: int, observer: Observer) -> None:
        self._model = model
        self._most = most
        self._observer = observer
        self._lock = threading.Lock()
        self._open: dict[DescribeOptions, _Open] = {}  # the one used last comes last

    def enter(self, options: DescribeOptions) -> DescribeQueue:
        """The queue of these options, which stays open until `leave`.

        Raises:
            C2TError: Options that cannot be.
            EngineError: No engine runs here, or the model is closed.
            OverloadedError: Too many queues are in use.
        """
        with self._lock:
            found = self._open.pop(options, None)
            if found is None:
                _check(self._model, options)
                self._make_room()
                found = _Open(DescribeQueue(self._model.describer(options), self._observer))
            self._open[options] = found
            found.users += 1
            return found.queue

    def leave(self, options: DescribeOptions) -> None:
        """The counterpart of `enter`."""
        with self._lock:
            found = self._open.get(options)
            if found is not None:  # None: closed meanwhile
                found.users -= 1

    @contextmanager
    def using(self, options: DescribeOptions) -> Iterator[DescribeQueue]:
        """`enter` and `leave`."""
        queue = self.enter(options)
        try:
            yield queue
        finally:
            self.leave(options)

    @property
    def waiting(self) -> int:
        """Cells that no worker has begun."""
        return sum(found.queue.waiting for found in list(self._open.values()))

    @property
    def waiting_urgent(self) -> int:
        """Those of requests, for which somebody waits."""
        return sum(found.queue.waiting_urgent for found in list(self._open.values()))

    def close(self) -> None:
        """Close all; cells that wait or are being written are cancelled."""
        with self._lock:
            closing, self._open = list(self._open.items()), {}
        for options, found in closing:
            found.queue.close()
            self._model.forget(options)

    def _make_room(self) -> None:
        if len(self._open) < self._most:
            return
        for options, found in self._open.items():
            if not found.users:
                del self._open[options]
                found.queue.close()
                self._model.forget(options)
                return
        self._observer.rejected("settings")
        problem = f"cells with {self._most} other settings are being described"
        hint = "use the same settings for all cells, or send these again later"
        raise OverloadedError(problem, hint=hint, retry_after=5)


def _check(model: Model, options: DescribeOptions) -> None:
    """Refuse settings that this bundle cannot describe with, in the words of a request."""
    try:
        check_options(model.bundle, options)
    except C2TError as error:
        error.problem, error.hint = (
            options_as_fields(text) for text in (error.problem, error.hint)
        )
        raise
