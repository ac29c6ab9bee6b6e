"""Where the time of a run goes: seconds and calls per stage.

The stages of describing are open, read (cells from the file), encode (by rank value), embed,
encoder, projector, prefill, decode and text; a generator's consumer is never on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from c2t.runtime.system.text_tables import table

T = TypeVar("T")


@dataclass
class StageClock:
    """Adds up times of one or more threads; cheap enough to be always on.

    Attributes:
        seconds: Total of each stage.
        calls: How often each stage ran.
        counts: Other things counted: cells, tokens, steps, drafted and accepted tokens.
        marks: Moments of `time.perf_counter` at which something happened first.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` (of `time.perf_counter`); returns the time now."""
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
        """Take note of the moment at which something happens for the first time."""
        if event not in self.marks:
            self.marks[event] = time.perf_counter()

    def split(self, stage: str, part: str, seconds: float) -> None:
        """Book seconds of a stage on a part of it that has a name of its own."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) - seconds
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds
            self.calls[part] = self.calls.get(stage, 0)

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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of a profile."""

    name: str
    seconds: float
    calls: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a run cost.

    Args:
        stages: In the order of work.
        cells: Cells that got a text.
        tokens: Text tokens written.
        steps: Decoder runs, counted per cell; tokens per step is 1 without drafts.
        drafted: Tokens that drafts proposed.
        accepted: Those of them that the model would have chosen.
        first_token_seconds: From the beginning of the first cell to its first text token; None if
            there was none.
    """

    stages: tuple[Stage, ...]
    cells: int
    tokens: int
    steps: int
    drafted: int
    accepted: int
    first_token_seconds: float | None

    @property
    def tokens_per_step(self) -> float:
        """Mean text tokens of a decoder run."""
        return self.tokens / self.steps if self.steps else 0.0


ORDER = ("open", "read", "encode", "embed", "encoder", "projector", "prefill", "decode", "text")


def profile(clock: StageClock) -> Profile:
    """The profile of a clock."""
    names = [*(n for n in ORDER if n in clock.seconds), *sorted(clock.seconds.keys() - set(ORDER))]
    begin, first = clock.marks.get("begin"), clock.marks.get("first token")
    number = clock.counts.get
    return Profile(
        stages=tuple(Stage(name=n, seconds=clock.seconds[n], calls=clock.calls[n]) for n in names),
        cells=number("cells", 0),
        tokens=number("tokens", 0),
        steps=number("steps", 0),
        drafted=number("drafted", 0),
        accepted=number("accepted", 0),
        first_token_seconds=None if begin is None or first is None else first - begin,
    )


def profile_text(found: Profile) -> str:
    """A profile as a table for people, without a newline at its end."""
    total = sum(stage.seconds for stage in found.stages) or 1.0
    rows: list[tuple[str, ...]] = [
        (s.name, f"{s.seconds:.3f}", f"{s.seconds / total:.1%}", f"{s.calls:,}")
        for s in found.stages
    ]
    lines = [table(("stage", "seconds", "share", "calls"), rows).rstrip()]
    if found.cells:
        lines.append(
            f"{found.tokens:,} tokens of {found.cells:,} cells, {found.tokens_per_step:.2f} a step"
        )
    if found.first_token_seconds is not None:
        lines.append(f"first token after {found.first_token_seconds:.3f} s")
    return "\n".join(lines)
