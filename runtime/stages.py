"""Where the time of a run goes: seconds and calls per stage.

The stages of describing are read, encode (rank values), embed, encoder (with the projector),
prefill, decode and text; a generator's consumer is never on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class StageClock:
    """Adds up times; cheap enough to be always on (under a microsecond a measurement).

    Attributes:
        seconds: Total of each stage.
        calls: How often each stage ran.
        counts: Other things counted: cells, tokens, steps.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` (of `time.perf_counter`); returns the time now."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        self.calls[stage] = self.calls.get(stage, 0) + 1
        return now

    def count(self, what: str, number: int = 1) -> None:
        """Add to a counter."""
        self.counts[what] = self.counts.get(what, 0) + number

    def iterate(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, with the time that making them took booked on a stage."""
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
