"""Items that a thread of its own makes ahead, while others are worked on.

One decision: one item is ahead, no more. Where a GPU describes cells, the next chunk is read from
its file and ranked meanwhile; memory holds that chunk besides.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """Pass items on in their order; the next one is made while the caller has one.

    The thread begins when the first item is asked for. When the caller stops early, it ends after
    the item that it is making, and `items` is closed.

    Raises:
        BaseException: What making an item raises, in its place.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue()
    wanted = threading.Semaphore(1)  # items that may be made
    stopped = threading.Event()

    def make() -> None:
        error: BaseException | None = None
        iterator = iter(items)
        try:
            while wanted.acquire() and not stopped.is_set():
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

    thread = threading.Thread(target=make, name="c2t-reader", daemon=True)
    thread.start()
    try:
        while isinstance(made := ready.get(), _Item):
            wanted.release()
            yield made.value
    finally:
        stopped.set()
        wanted.release()
        thread.join()
    if made.error is not None:
        raise made.error
