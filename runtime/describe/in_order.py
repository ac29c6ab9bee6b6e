"""Pieces of work for several threads, with their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], pieces: Iterable[T], workers: int) -> Iterator[R]:
    """The results of pieces. Only as many are taken ahead as keep the workers busy.

    Args:
        work: Called in as many threads at a time as there are workers.
        pieces: Taken in the caller's thread.
        workers: With 1, all is done in the caller's thread.
    """
    if workers == 1:
        yield from map(work, pieces)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="c2t-piece")
    try:
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            while len(waiting) > workers or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
