"""The engine room: what all doors put their cells into.

One decision: a request's cells are queued one by one, so cells of different requests and doors are
written together, join while others are written, and leave between two tokens. A cell's text does
not depend on the cells beside it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, TimeoutError
from contextlib import contextmanager
from functools import partial

from c2t.runtime.bundle.tasks import DESCRIBE
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.cells.counted_cells import CountedCellReader, ReadCells
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.description import Description
from c2t.runtime.describe.model import Model
from c2t.runtime.serve.room.analyses import Analyses
from c2t.runtime.serve.room.audit import NO_AUDIT, RequestAudit, RoomAudit, refusing
from c2t.runtime.serve.room.limits import (
    JobCancelled,
    OverloadedError,
    RoomLimits,
    StoppingError,
)
from c2t.runtime.serve.room.messages import (
    CountedCell,
    DescribeRequest,
    Settings,
    UnreadCell,
    UnreadRequest,
    describe_options,
)
from c2t.runtime.serve.room.observer import NO_OBSERVER, CellOutcome, Observer
from c2t.runtime.serve.room.queues import Queues
from c2t.runtime.serve.room.ticket import Ticket
from c2t.runtime.serve.room.vectors import warm_up_vectors
from c2t.runtime.system.errors import EngineError

# Cells of a job that wait in the queue: enough to keep the workers busy, few enough to cancel.
JOB_CELLS_AHEAD = 256
# How often a waiting job looks whether it was cancelled, in seconds.
LOOK_INTERVAL = 0.2


class EngineRoom:
    """One open model behind a queue. Threads may share it.

    Args:
        model: What describes; whoever opened it closes it.
        limits: How much is taken at a time.
        observer: Told what happens.
        audit: The audit trail; without one, nothing is recorded.

    Attributes:
        analyses: Labels compared and texts explained, for all doors.
    """

    def __init__(
        self,
        model: Model,
        limits: RoomLimits | None = None,
        observer: Observer = NO_OBSERVER,
        *,
        audit: RoomAudit = NO_AUDIT,
    ) -> None:
        self.model = model
        self.audit = audit
        self.limits = limits or RoomLimits()
        self.observer = observer
        self._reader = CountedCellReader(model.bundle)
        self._queues = Queues(model, self.limits.queues, observer)
        self._changed = threading.Condition()
        self._under_way = 0  # requests and jobs
        self._stopping = False
        self._speed = _Speed()
        self.analyses = Analyses(self)

    def warm_up(self) -> None:
        """Open the engines and describe a cell: after this the room is ready.

        Raises:
            EngineError: No engine runs here, or it fails.
        """
        bundle = self.model.bundle
        if not bundle.manifest.has_decoder:
            warm_up_vectors(self.model)
            return
        golden = bundle.golden.cells
        some = bundle.genes.token[:1].tolist() if bundle.manifest.has_encoder else [0]
        tokens = golden[0].gene_tokens if golden else some
        with self._queues.using(self.model.options) as queue:
            described = queue.submit(EncodedCells.of_tokens([tokens]), urgent=True).result()
        if described.error:
            raise EngineError(described.error, hint="run `c2t verify` on the bundle")

    @property
    def waiting(self) -> int:
        """Cells that no worker has begun."""
        return self._queues.waiting

    @property
    def stopping(self) -> bool:
        """Whether `drain` or `close` was called."""
        return self._stopping

    def describe_options(self, settings: Settings) -> DescribeOptions:
        """The options of a request with these settings."""
        return describe_options(settings, self.model.options)

    def describe(
        self,
        request: DescribeRequest,
        *,
        stream: bool = False,
        wake: Callable[[], None] | None = None,
    ) -> Ticket:
        """Read the cells of a request and queue them, before those of jobs.

        Args:
            request: Cells and settings.
            stream: Unfinished texts can be read.
            wake: Called in a worker's thread when there is something to take from the ticket;
                without `stream`, once, when all cells are finished.

        Raises:
            CellFileError: The cells as a whole cannot be read as counts over known genes.
            OverloadedError: Too many cells wait already.
            StoppingError: The service is about to stop.
            EngineError: No engine runs here.
            AuditError: The audit trail takes no line.
        """
        with refusing(self.audit):
            self.model.bundle.manifest.need_task(DESCRIBE)
            self._check_room(len(request.cells))
            read = self.read(request.cells, _reading(request.settings))
            audit = self._audit_of(request)
            return self._submit(read, request.settings, stream=stream, wake=wake, audit=audit)

    def read(self, cells: Sequence[CountedCell], options: CellOptions) -> ReadCells:
        """Read cells of a request.

        Raises:
            CellFileError: The cells as a whole cannot be read as counts over known genes.
        """
        return self._reader.read([cell.counts for cell in cells], _names(cells), options)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something other than a description is under way: `drain` waits for it.

        Raises:
            StoppingError: The service is about to stop.
        """
        self._check_stopping()
        self._enter()
        try:
            yield
        finally:
            self._enter(-1)

    def describe_unread(
        self,
        request: UnreadRequest,
        *,
        stream: bool = False,
        wake: Callable[[], None] | None = None,
    ) -> Ticket | None:
        """The same of a request whose counts are still JSON, which takes a part of the time.

        Returns:
            None where a JSON reader must judge it, or the audit trail is to have its hash. Nothing
            has happened then.
        """
        if self.audit.on:
            return None
        self.model.bundle.manifest.need_task(DESCRIBE)
        self._check_room(len(request.cells))
        settings = request.settings
        read = self._reader.read_json(
            [memoryview(cell.counts) for cell in request.cells],
            _names(request.cells),
            _reading(settings),
        )
        if read is None:
            return None
        return self._submit(read, settings, stream=stream, wake=wake)

    def _submit(
        self,
        read: ReadCells,
        settings: Settings,
        *,
        stream: bool,
        wake: Callable[[], None] | None,
        audit: RequestAudit | None = None,
    ) -> Ticket:
        options = self.describe_options(settings)
        queue = self._queues.enter(options)
        self._enter()
        decode = partial(decode_text, self.model.bundle.tokenizer, whole=False)
        ticket = Ticket(
            len(read.cells),
            read.warnings,
            decode=decode if stream else None,
            wake=wake,
            leave=partial(self._leave, options),
            audit=audit,
        )
        submitted = 0
        try:
            for place in range(len(read.cells)):
                future = queue.submit(
                    read.cells[place : place + 1],
                    urgent=True,
                    on_tokens=partial(ticket.wrote, place) if stream else None,
                )
                future.add_done_callback(self._count)
                ticket.watch(future)
                submitted += 1
        except BaseException:
            ticket.cancel()
            if not submitted:
                self._leave(options)
            raise
        return ticket

    def _audit_of(self, request: DescribeRequest) -> RequestAudit | None:
        if not self.audit.on:
            return None
        bundle = self.model.bundle
        return RequestAudit(
            self.audit,
            request,
            bundle=bundle.digest,
            signer=bundle.trust.fingerprint if bundle.trust else "",
            engine=self.model.engine_label,
        )

    def describe_job(
        self,
        cells: Iterable[EncodedCells],
        settings: Settings,
        *,
        cancelled: Callable[[], bool],
        embed: bool = False,
    ) -> Iterator[Description]:
        """Describe the cells of a file, behind the cells of requests, in the calling thread.

        Args:
            cells: Chunks.
            settings: How to describe. How to read is the reader's matter.
            cancelled: Whether to stop; asked now and then, also between two tokens.
            embed: The descriptions have the mean of the cell vectors.

        Yields:
            Descriptions in the order of the cells.

        Raises:
            JobCancelled: `cancelled` said so.
            EngineError: The engine is broken, or the room was closed.
        """
        self.model.bundle.manifest.need_task(DESCRIBE)
        options = self.describe_options(settings)
        ahead: deque[Future[Description]] = deque()
        with self._queues.using(options) as queue:
            self._enter()
            try:
                for chunk in cells:
                    for place in range(len(chunk)):
                        while len(ahead) >= JOB_CELLS_AHEAD or (ahead and ahead[0].done()):
                            yield _await(ahead[0], cancelled)
                            ahead.popleft()
                        if cancelled():
                            raise JobCancelled
                        future = queue.submit(chunk[place : place + 1], embed=embed)
                        future.add_done_callback(self._count)
                        ahead.append(future)
                while ahead:
                    yield _await(ahead[0], cancelled)
                    ahead.popleft()
            finally:
                for future in ahead:
                    future.cancel()
                self._enter(-1)

    def drain(self, timeout: float | None = None) -> bool:
        """Take nothing new, and wait for what was begun.

        Args:
            timeout: In seconds; None: as long as it takes.

        Returns:
            Whether all was finished in time.
        """
        with self._changed:
            self._stopping = True
            return self._changed.wait_for(lambda: self._under_way == 0, timeout)

    def close(self) -> None:
        """Take nothing new; cells that wait or are being written are given up."""
        self._stopping = True
        self._queues.close()
        self.analyses.close()

    def _check_stopping(self) -> None:
        if self._stopping:
            self.observer.rejected("stopping")
            problem = "the service is about to stop"
            raise StoppingError(problem, hint="send the cells again when it is back")

    def _check_room(self, cells: int) -> None:
        self._check_stopping()
        waiting = self._queues.waiting_urgent
        if waiting + cells > self.limits.waiting_cells and waiting:
            self.observer.rejected("overloaded")
            problem = f"{waiting:,} cells wait already, at most {self.limits.waiting_cells:,} may"
            seconds = self._speed.seconds(waiting)
            hint = f"send these {cells:,} again in {seconds} s"
            raise OverloadedError(problem, hint=hint, retry_after=seconds)

    def _enter(self, number: int = 1) -> None:
        with self._changed:
            self._under_way += number
            self._changed.notify_all()

    def _leave(self, options: DescribeOptions) -> None:
        self._queues.leave(options)
        self._enter(-1)

    def _count(self, future: Future[Description]) -> None:
        outcome: CellOutcome = "cancelled"
        if not future.cancelled():
            failed = future.exception() is not None or future.result().error
            outcome = "error" if failed else "text"
            self._speed.finished()
        self.observer.cell_done(outcome)


def _names(cells: Sequence[CountedCell | UnreadCell]) -> list[str]:
    """What the cells of a request are called."""
    return [str(place) if cell.id is None else cell.id for place, cell in enumerate(cells)]


def _reading(settings: Settings) -> CellOptions:
    return CellOptions(
        values=settings.counts_are,
        min_coverage=settings.min_coverage,
        organism=settings.organism,
    )


class _Speed:
    """How many cells a second are finished, of late."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=256)

    def finished(self) -> None:
        """One more cell is finished."""
        self._times.append(time.monotonic())

    def seconds(self, cells: int) -> int:
        """How long so many cells will take, from 1 to 60 seconds."""
        times = list(self._times)
        if len(times) < 2 or times[-1] <= times[0]:
            return 1
        each = (times[-1] - times[0]) / (len(times) - 1)
        return int(min(max(cells * each, 1), 60))


def _await(future: Future[Description], cancelled: Callable[[], bool]) -> Description:
    """The result of a job's next cell.

    Raises:
        JobCancelled: The job was cancelled meanwhile.
        EngineError: The engine is broken, or the room was closed.
    """
    while True:
        if cancelled():
            raise JobCancelled
        try:
            return future.result(timeout=LOOK_INTERVAL)
        except TimeoutError:
            continue
        except CancelledError:
            problem = "the service stopped"
            raise EngineError(problem, hint="it goes on when the service is back") from None
