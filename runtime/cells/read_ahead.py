"""Items that a thread of its own makes ahead, while others are worked on.

One decision: one item is ahead, no more. Where a GPU describes cells, the next chunk is read from
its file and ranked meanwhile; memory holds that chunk besides. Who closes what is read stops the
threads that read it first (`ReadingThreads`): a generator may live on in a traceback.
"""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class _ReadingThread(threading.Thread):
    """A thread that makes items until it is stopped."""

    def __init__(self, make: Callable[[], None]) -> None:
        # A daemon: the interpreter waits for other threads before it runs what stops this one.
        super().__init__(target=make, name="c2t-reader", daemon=True)
        self.wanted = threading.Semaphore(1)  # items that may be made
        self.stopped = threading.Event()
        _RUNNING.add(self)

    def stop(self) -> None:
        """End it after the item that it is making."""
        self.stopped.set()
        self.wanted.release()
        if self is not threading.current_thread():  # which may collect a generator
            self.join()


_RUNNING: weakref.WeakSet[_ReadingThread] = weakref.WeakSet()


class ReadingThreads:
    """The threads of `read_ahead` that read something, which is to be closed."""

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[_ReadingThread] = weakref.WeakSet()

    def add_this(self) -> None:
        """Remember the calling thread, if it is one that reads ahead."""
        thread = threading.current_thread()
        if isinstance(thread, _ReadingThread):
            self._threads.add(thread)

    def stop(self) -> None:
        """Stop them, each after the item that it is making."""
        for thread in list(self._threads):
            thread.stop()


@atexit.register
def _stop_all() -> None:
    for thread in list(_RUNNING):
        thread.stop()


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """Pass items on in their order; the next one is made while the caller has one.

    The thread begins when the first item is asked for. When the caller stops early, it ends after
    the item that it is making, and `items` is closed.

    Raises:
        RuntimeError: What is read was closed before the last item was made.
        BaseException: What making an item raises, in its place.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue()

    def make() -> None:
        error: BaseException | None = None
        iterator = iter(items)
        try:
            while thread.wanted.acquire():
                if thread.stopped.is_set():
                    error = RuntimeError("the cells were closed while they were read")
                    break
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                ready.put(_Item(item))
            if isinstance(iterator, Generator):
                iterator.close()
        except BaseException as caught:  # raised again, in the caller's thread
            error = caught
        ready.put(_End(error))

    thread = _ReadingThread(make)
    thread.start()
    try:
        while isinstance(made := ready.get(), _Item):
            thread.wanted.release()
            yield made.value
    finally:
        thread.stop()
    if made.error is not None:
        raise made.error
