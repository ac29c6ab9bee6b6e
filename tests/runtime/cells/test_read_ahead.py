"""Items made ahead by a thread: one, in order, with their errors, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from c2t.runtime.cells.read_ahead import ReadingThreads, read_ahead

SECONDS = 30


class Source:
    """Numbers, each of which is made when it is asked for."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.count, self.error = count, error
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.reached = [threading.Event() for _ in range(count + 1)]
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.threads.add(threading.current_thread().name)
                self.made.append(number)
                self.reached[number].set()
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed.set()


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "c2t-reader"]


def test_the_next_item_is_made_while_one_is_used() -> None:
    source = Source(4)
    items = read_ahead(source)
    assert source.made == []
    for number in range(4):
        assert next(items) == number
        if number + 1 < 4:
            assert source.reached[number + 1].wait(SECONDS)  # without being asked for it
        assert source.made == list(range(min(number + 2, 4)))  # and no further one
    assert next(items, None) is None
    assert source.threads == {"c2t-reader"}
    assert readers() == []


@pytest.mark.parametrize("error", [ValueError("a damaged file"), KeyboardInterrupt()])
def test_an_error_comes_in_its_place(error: BaseException) -> None:
    items = read_ahead(Source(2, error))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(type(error)):
        next(items)
    assert readers() == []


def test_stopping_early_stops_the_thread_and_closes_the_source() -> None:
    source = Source(100)
    items = read_ahead(source)
    next(items)
    items.close()
    assert source.closed.is_set()
    assert len(source.made) <= 2
    assert readers() == []


def test_nothing_is_read_of_what_nobody_asks_for() -> None:
    source = Source(3)
    read_ahead(source).close()
    assert source.made == []
    assert readers() == []


def test_no_items() -> None:
    assert list(read_ahead([])) == []


def test_who_closes_what_is_read_stops_the_thread_although_the_items_are_held() -> None:
    threads, source = ReadingThreads(), Source(100)

    def read() -> Iterator[int]:
        for number in source:
            threads.add_this()
            yield number

    items = read_ahead(read())
    assert next(items) == 0
    threads.stop()
    assert readers() == []
    assert source.closed.is_set()
    made = list(source.made)
    with pytest.raises(RuntimeError, match="closed while they were read"):
        assert list(items) == [1]
    assert source.made == made


def test_no_other_thread_is_stopped() -> None:
    threads = ReadingThreads()
    threads.add_this()  # the main thread, which would wait for itself
    other, source = read_ahead(Source(3)), Source(3)
    assert [next(other), list(read_ahead(source))] == [0, [0, 1, 2]]
    threads.stop()
    assert list(other) == [1, 2]


SCRIPT = """
import atexit, itertools, sys, threading
left = lambda: print([t.name for t in threading.enumerate() if t.name == "c2t-reader"])
atexit.register(left)
from c2t.runtime.cells.read_ahead import read_ahead
items = read_ahead(itertools.count())
next(items)
left()
"""


def test_none_is_left_when_the_interpreter_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["['c2t-reader']", "[]"]
    assert done.stderr == ""
