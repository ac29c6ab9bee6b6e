"""The clock of stages: times of calls, of generators, and of parts of a stage."""

from __future__ import annotations

import itertools
import time

import pytest

from c2t.runtime.system.timing import StageClock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at the time."""
    count = itertools.count(100)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(count)))


def test_stages_add_up(seconds: None) -> None:
    clock = StageClock()
    now = clock.add("read", time.perf_counter())
    clock.add("decode", now)
    clock.add("read", now)
    assert clock.seconds == {"read": 1.0 + 2.0, "decode": 1.0}
    assert clock.calls == {"read": 2, "decode": 1}
    clock.count("cells", 3)
    clock.count("cells")
    assert clock.counts == {"cells": 4}


def test_an_event_is_recorded_once(seconds: None) -> None:
    clock = StageClock()
    clock.mark("begin")
    clock.mark("begin")
    assert clock.marks == {"begin": 100.0}


def test_the_time_of_the_caller_is_not_recorded(seconds: None) -> None:
    clock = StageClock()
    items = []
    for item in clock.iterate("read", "ab"):
        items.append(item)
        for _ in range(50):
            time.perf_counter()
    assert items == ["a", "b"]
    # The last call finds that there is no more.
    assert (clock.seconds, clock.calls) == ({"read": 3.0}, {"read": 3})


def test_a_part_becomes_a_stage(seconds: None) -> None:
    clock = StageClock()
    clock.add("read", time.perf_counter() - 9)
    clock.split("read", "encode", 4.0)
    assert clock.seconds == {"read": 6.0, "encode": 4.0}
    assert clock.calls == {"read": 1, "encode": 1}
