"""What ended commands gave: how long it is kept, and how much of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.sila import runs as runs_module
from c2t.runtime.serve.sila.options import RunLimits
from c2t.runtime.serve.sila.runs import Run, Runs


class Execution:
    """What the library knows of a command, and what it was told."""

    def __init__(self, name: str) -> None:
        self.command_execution_uuid = name
        self.told: list[tuple[float, timedelta | None, timedelta]] = []

    def update_execution_info(self, *info: Any) -> None:
        self.told.append(info)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(runs_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def result(text: str = "a cell") -> CellResult:
    return CellResult("c", text, 0.5, None, 3, None)


def opened(limits: RunLimits) -> tuple[Runs, list[str]]:
    dropped: list[str] = []
    return Runs(limits, lambda run: dropped.append(run.id)), dropped


def begin(runs: Runs, name: str, text: str = "a cell") -> Run:
    run = runs.open(Execution(name))
    run.begin(1)
    run.add(0, result(text))
    return run


def test_what_ended_is_dropped_after_its_time(clock) -> None:
    runs, dropped = opened(RunLimits(keep_seconds=10))
    first, second = begin(runs, "first"), begin(runs, "second")
    runs.end(first, "done")
    clock.now += 11
    assert runs.find("first") is None
    assert dropped == ["first"]
    assert runs.find("second") is second  # it still runs
    runs.end(second, "done")
    assert runs.find("second") is second


def test_the_oldest_are_dropped_when_they_are_too_large_together(clock) -> None:
    runs, dropped = opened(RunLimits(keep_bytes=3000))
    for name in "abc":
        runs.end(begin(runs, name, "x" * 1000), "done")
        clock.now += 1
    assert dropped == ["a", "b"]
    runs.end(begin(runs, "huge", "x" * 10_000), "done")
    assert dropped == ["a", "b", "c"]
    assert runs.find("huge") is not None  # the newest stays


def test_results_are_handed_out_without_a_gap() -> None:
    run = Run(Execution("a"), 10)
    run.begin(4)
    for place in (2, 0, 3):
        run.add(place, result(str(place)))
    assert (run.finished, run.done) == (3, 1)
    assert [one.text for one in run.results()] == ["0"]
    run.add(1, result("1"))
    assert run.done == 4
    assert [one.text for one in run.results(1, 2)] == ["1", "2"]
    assert list(run.results(4)) == []
    assert list(run.results(1 << 40, 5)) == []


def test_clients_are_told_what_is_new_and_that_it_is_still_remembered(clock) -> None:
    execution = Execution("a")
    run = Run(execution, 600)
    clock.now += 3
    run.tell(0.25, moved=True)
    run.tell(0.25, moved=False)
    clock.now += 61
    run.tell(0.25, moved=False)
    assert execution.told == [
        (0.25, timedelta(seconds=9), timedelta(seconds=600)),
        (0.25, timedelta(seconds=192), timedelta(seconds=600)),
    ]


def test_a_command_waits_a_little_for_those_who_listen() -> None:
    async def run() -> None:
        run = Run(Execution("a"), 10)
        run.begin(2)
        seen: list[int] = []

        async def listen() -> None:
            async for place, _ in run.cells():
                await asyncio.sleep(0.01)
                seen.append(place)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        run.add(1, result())
        run.add(0, result())
        await run.drain(10)
        assert seen == [1, 0]
        run.end("done")
        await listening
        stuck = run.cells()
        await anext(stuck)
        await run.drain(0.01)  # somebody who reads no further holds up nobody for long
        await stuck.aclose()

    asyncio.run(run())
