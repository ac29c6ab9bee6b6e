"""Where the time of a run goes: seconds and calls of each stage of the work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


@dataclass
class StageClock:
    """Adds up times of one or more threads; cheap enough to be always on.

    Attributes:
        seconds: Total of each stage.
        calls: How often each stage ran.
        counts: Totals of other things: cells, tokens, steps, drafted and accepted tokens.
        marks: When an event happened for the first time, on the clock of `time.perf_counter`.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, stage: str, since: float) -> float:
        """Record a call of a stage that began at `since`; returns the time now.

        Both are on the clock of `time.perf_counter`.
        """
        now = time.perf_counter()
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
            self.calls[stage] = self.calls.get(stage, 0) + 1
        return now

    def count(self, what: str, number: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def mark(self, event: str) -> None:
        """Record the time of an event, unless it has happened before."""
        if event not in self.marks:
            self.marks[event] = time.perf_counter()

    def split(self, stage: str, part: str, seconds: float) -> None:
        """Move seconds from a stage to a part of it, which becomes a stage of its own."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) - seconds
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds
            self.calls[part] = self.calls.get(stage, 0)

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, and record the time that making each of them takes.

        The time until the caller asks for the next item is not recorded.
        """
        iterator = iter(items)
        while True:
            since = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                self.add(stage, since)
                return
            self.add(stage, since)
            yield item
