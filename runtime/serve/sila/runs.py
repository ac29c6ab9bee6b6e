"""What commands have given so far: kept for those who listen late, or come back.

One decision: a listener has a place in a run's list, never a queue of its own. So one that comes
late misses nothing, and a slow one costs no memory and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

from sila.server import CommandExecution

from c2t.runtime.serve.jobs.state import JobState, Status
from c2t.runtime.serve.room.messages import CellResult
from c2t.runtime.serve.sila.options import RunLimits

RESULT_BYTES = 600  # of a result's Python objects, without its text
DRAIN_INTERVAL = 0.005
EXTEND_SECONDS = 60.0  # how often a command that runs has its lifetime extended


class Run:
    """One execution of a command. Only the event loop uses it.

    Args:
        execution: What the library knows of it.
        keep_seconds: How long after its end it is kept.

    Attributes:
        id: Its Command Execution UUID.
        state: How far it is; as of a job.
        total: Cells that it has; None: not known yet.
        job: The newest state of its job, if it is one of Describe File.
        problem: Why it failed, in two lines; "" otherwise.
        cancelled: Whether somebody cancelled it.
        bytes: About what its results take in memory.
        ended: When it ended, on the monotonic clock.
    """

    def __init__(self, execution: CommandExecution[Any], keep_seconds: float) -> None:
        self.id = execution.command_execution_uuid
        self.execution = execution
        self.state: Status = "queued"
        self.total: int | None = None
        self.job: JobState | None = None
        self.problem = ""
        self.cancelled = False
        self.bytes = 0
        self.ended: float | None = None
        self._results: dict[int, CellResult] = {}  # by place
        self._order: list[int] = []  # places, as they came
        self._done = 0  # without a gap from the first on
        self._listeners: set[asyncio.Event] = set()
        self._read: dict[object, int] = {}  # how many cells each who listens has
        self._keep_seconds = keep_seconds
        self._started = self._told = time.monotonic()

    @property
    def finished(self) -> int:
        """Cells that are finished, wherever they are."""
        return len(self._results)

    @property
    def failed(self) -> int:
        """Those of them that have an error instead of a text."""
        return sum(result.error is not None for result in self._results.values())

    @property
    def done(self) -> int:
        """Cells that are finished from the first on, without a gap."""
        while self._done in self._results:
            self._done += 1
        return self._done

    def begin(self, total: int) -> None:
        """Its cells are under way."""
        self.state, self.total = "running", total

    def add(self, place: int, result: CellResult) -> None:
        """A cell is finished."""
        self._results[place] = result
        self._order.append(place)
        self.bytes += RESULT_BYTES + len(result.text or result.error or "")

    def update(self, job: JobState) -> None:
        """Its job is this far."""
        self.job, self.total = job, job.cells
        if not job.has_ended:
            self.state = job.state

    def changed(self) -> None:
        """Wake all who listen."""
        for listener in self._listeners:
            listener.set()

    def tell(self, progress: float, *, moved: bool) -> None:
        """Tell clients how far it is, and now and then that it is remembered for longer.

        Args:
            progress: 0 to 1.
            moved: Whether that is new.
        """
        now = time.monotonic()
        if not moved and now - self._told < EXTEND_SECONDS:
            return
        self._told = now
        left = None
        if progress > 0:
            left = timedelta(seconds=(now - self._started) * (1 - progress) / progress)
        keep = timedelta(seconds=self._keep_seconds)
        self.execution.update_execution_info(progress, left, keep)

    def cancel(self) -> None:
        """Ask the command to stop; it says so when it has."""
        self.cancelled = True
        self.changed()

    def end(self, state: Status, problem: str = "") -> None:
        """It gives no more."""
        self.state, self.problem, self.ended = state, problem, time.monotonic()
        self.changed()

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that every change sets."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    async def cells(self) -> AsyncIterator[tuple[int, CellResult]]:
        """Place and result of each cell as it is finished; those that are finished come first."""
        reader = object()
        with self.listening() as event:
            try:
                sent = self._read[reader] = 0
                while True:
                    event.clear()
                    while sent < len(self._order):
                        place = self._order[sent]
                        yield place, self._results[place]
                        sent = self._read[reader] = sent + 1
                    if self.ended is not None:
                        return
                    await event.wait()
            finally:
                del self._read[reader]

    async def drain(self, seconds: float) -> None:
        """Wait until all cells are on their way to those who listen, or the time is over.

        Some clients stop listening as soon as they hear that the command is finished.
        """
        self.changed()
        until = time.monotonic() + seconds
        while self._read and time.monotonic() < until:
            await asyncio.sleep(DRAIN_INTERVAL)
            if all(read == len(self._order) for read in self._read.values()):
                return

    async def jobs(self) -> AsyncIterator[JobState]:
        """The newest state of its job, as often as it changes and somebody reads."""
        with self.listening() as event:
            last: JobState | None = None
            while True:
                event.clear()
                if self.job is not None and self.job is not last:
                    last = self.job
                    yield last
                    continue
                if self.ended is not None:
                    return
                await event.wait()

    def results(self, first: int = 0, count: int | None = None) -> Iterator[CellResult]:
        """Results from a place on, without a gap."""
        stop = self.done if count is None else min(self.done, first + count)
        return (self._results[place] for place in range(first, stop))


class Runs:
    """The runs of a server: those that run, and those that ended of late.

    Args:
        limits: How long they are kept.
        forget: Called with a run that is dropped.
    """

    def __init__(self, limits: RunLimits, forget: Callable[[Run], None]) -> None:
        self._limits = limits
        self._forget = forget
        self._running: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._running) + len(self._ended)

    @property
    def running(self) -> list[Run]:
        """Runs that have not ended."""
        return list(self._running.values())

    def open(self, execution: CommandExecution[Any]) -> Run:
        """Begin a run."""
        self._drop()
        run = Run(execution, self._limits.keep_seconds)
        self._running[run.id] = run
        return run

    def of(self, execution: CommandExecution[Any]) -> Run:
        """The run of an execution that has not ended."""
        return self._running[execution.command_execution_uuid]

    def find(self, run_id: str) -> Run | None:
        """The run of a Command Execution UUID, None if there is none."""
        self._drop()
        return self._running.get(run_id) or self._ended.get(run_id)

    def end(self, run: Run, state: Status, problem: str = "") -> None:
        """A run gives no more; its results are kept for a while."""
        run.end(state, problem)
        del self._running[run.id]
        self._ended[run.id] = run
        self._bytes += run.bytes
        self._drop()

    def _drop(self) -> None:
        """Drop the runs that are too old or too many; the newest stays however large it is."""
        limits = self._limits
        since = time.monotonic() - limits.keep_seconds
        while self._ended:
            oldest = next(iter(self._ended.values()))
            assert oldest.ended is not None
            too_many = len(self._ended) > limits.keep_runs or self._bytes > limits.keep_bytes
            if oldest.ended > since and not (too_many and len(self._ended) > 1):
                return
            del self._ended[oldest.id]
            self._bytes -= oldest.bytes
            self._forget(oldest)
