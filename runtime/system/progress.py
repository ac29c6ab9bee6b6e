"""Progress of long work, on standard error: a bar for a person, a line a minute for a log.

One decision: what reports progress calls a plain function with the amount done since the last call.
It never knows what is shown. Rich is imported only for a bar.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from c2t.runtime.system.text_tables import gigabytes

Advance = Callable[[int], None]
T = TypeVar("T")

LINE_SECONDS = 60.0  # between two lines of a log


@contextlib.contextmanager
def progress_bar(label: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """Show how far the block is: a bar in a terminal, else lines; see `ProgressLog`.

    Args:
        label: What is going on, in a word or two.
        total: The amount of work, in `unit`s.
        done: How much of it was done by an earlier run.
        unit: Name of one piece of work ("cells"), or "bytes", which is shown in MB; "" where the
            amount means nothing by itself.

    Yields:
        A function to call with the amount done since its last call.
    """
    if not sys.stderr.isatty():
        log = ProgressLog(label, total, done=done, unit=unit)
        yield log.advance
        log.finish()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = [TextColumn("{task.description}"), BarColumn(), amount]
    if unit not in ("", "bytes"):
        columns.append(TextColumn(unit))
    columns += [TimeElapsedColumn(), TextColumn("eta"), TimeRemainingColumn()]
    # redirect_stdout stays off: descriptions may be going to standard output.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
    ) as bars:
        task = bars.add_task(label, total=total, completed=done)

        def advance(amount: int) -> None:
            bars.advance(task, amount)

        yield advance


def tracked(label: str, items: Iterable[T], total: int, *, unit: str) -> Iterator[T]:
    """Pass items on, and show how many of them the caller is done with; see `progress_bar`.

    Args:
        label: What is going on.
        items: What is worked on, or what a generator makes with much work.
        total: Number of items.
        unit: What they are ("cells").
    """
    with progress_bar(label, total, unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


class ProgressLog:
    """Lines for a log: at most one a minute, and one at the end. Nothing for shorter work.

    A line reads "calibrating: 12 of 32 cells, 3 min, about 5 min left".

    Args:
        label: What is going on.
        total: The amount of work.
        done: How much of it was done by an earlier run.
        unit: See `progress_bar`.
        clock: Seconds from any moment on.
        write: Takes each line.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        done: int = 0,
        unit: str = "",
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._before, self._done = done, done
        self._clock, self._write = clock, write or _to_stderr
        self._start = self._last = clock()

    def advance(self, amount: int) -> None:
        """Record an amount of work; writes a line where the last is a minute old."""
        self._done += amount
        now = self._clock()
        if now - self._last < LINE_SECONDS or self._done >= self._total:
            return
        self._last = now
        passed, worked = now - self._start, self._done - self._before
        left = ""
        if worked > 0:
            seconds = passed / worked * (self._total - self._done)
            left = f", about {duration_words(seconds)} left"
        self._write(f"{self._label}: {self._amount()}, {duration_words(passed)}{left}")

    def finish(self) -> None:
        """Write the last line, if the work took more than a minute."""
        passed = self._clock() - self._start
        if passed >= LINE_SECONDS:
            self._write(f"{self._label}: {self._amount()}, {duration_words(passed)}")

    def _amount(self) -> str:
        if not self._unit:
            return f"{100 * self._done / max(self._total, 1):.0f} %"
        if self._unit == "bytes":
            return f"{gigabytes(self._done)} of {gigabytes(self._total)}"
        return f"{self._done:,} of {self._total:,} {self._unit}"


def duration_words(seconds: float) -> str:
    """A time as people say it: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens: no reason to stop working
        print(line, file=sys.stderr, flush=True)
