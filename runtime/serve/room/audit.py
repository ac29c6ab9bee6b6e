"""What an audit trail is told of a service: requests, jobs, and who was refused.

One decision: lines are written by one thread of its own, as each costs 3 to 20 ms of a disk. A
request's answer waits for its line, so no text leaves the room unaudited; a request that is read
while it is written has a line before its first text, too. If no line can be written, nothing new is
taken until one can be.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec.structs import replace

from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.serve.room.asking import asked_by
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.system.errors import AuditError, C2TError

LOG = logging.getLogger(__name__)
SCOPE = "serve"
RETRY_SECONDS = 2.0  # between two tries to write again
REFUSALS_MAX = 256  # different ones that wait for their line; more are counted together
PROBLEM_MAX = 1000
TOLD = "_told_the_trail"  # a mark of an error that has its line

Done = Callable[[AuditError | None], None]
Refusal = tuple[Action, str, str]  # what was refused, to whom, and why


class RoomAudit(Protocol):
    """Told what is done in a room and by its doors. Any thread may tell."""

    @property
    def on(self) -> bool:
        """Whether there is a trail."""

    def check(self) -> None:
        """Refuse to begin anything while no line can be written.

        Raises:
            AuditError: None can be.
        """

    def submit(
        self, action: Action, details: Callable[[], Details], done: Done, *, who: str
    ) -> None:
        """Have a line written; `done` is told when it is on the disk, or why it is not."""

    def record(self, action: Action, details: Details) -> None:
        """Write a line and wait for it; not for an event loop.

        Raises:
            AuditError: It cannot be written.
        """

    def refused(self, error: C2TError, *, action: Action = Action.refuse) -> None:
        """Somebody was refused. Each error is told once, however often this is called."""


class NoAudit:
    """There is no trail."""

    on = False

    def check(self) -> None:
        """Do nothing."""

    def submit(
        self, action: Action, details: Callable[[], Details], done: Done, *, who: str
    ) -> None:
        """Say that all is well."""
        done(None)

    def record(self, action: Action, details: Details) -> None:
        """Do nothing."""

    def refused(self, error: C2TError, *, action: Action = Action.refuse) -> None:
        """Do nothing."""


NO_AUDIT: RoomAudit = NoAudit()


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    action: Action
    details: Callable[[], Details]
    done: Done
    asked_by: str


class ServiceAudit:
    """Writes the lines of a service. Use it as a context manager.

    Args:
        trail: An open one; whoever opened it closes it, after this.
    """

    on = True

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail
        self._changed = threading.Condition()
        self._writing = threading.RLock()
        self._lines: deque[_Waiting] = deque()
        self._refusals: dict[Refusal, int] = {}
        self._lost = 0  # lines that could not be written
        self._problem: AuditError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="c2t-audit", daemon=True)
        self._thread.start()

    def __enter__(self) -> ServiceAudit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and take nothing more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def check(self) -> None:
        """See `RoomAudit`."""
        if self._problem is not None or self._closing:
            raise _refusal(stopping=self._closing)

    def submit(
        self, action: Action, details: Callable[[], Details], done: Done, *, who: str
    ) -> None:
        """See `RoomAudit`."""
        line = _Waiting(action=action, details=details, done=done, asked_by=who)
        with self._changed:
            closing = self._closing
            if not closing:
                self._lines.append(line)
                self._changed.notify_all()
        if closing:
            done(_refusal(stopping=True))

    def record(self, action: Action, details: Details) -> None:
        """See `RoomAudit`."""
        error = self._write(action, details, asked_by())
        if error is not None:
            raise _refusal() from error

    def refused(self, error: C2TError, *, action: Action = Action.refuse) -> None:
        """See `RoomAudit`. Equal ones that come faster than lines are written share a line."""
        if TOLD in vars(error):
            return
        vars(error)[TOLD] = True
        refusal = (action, asked_by(), error.problem[:PROBLEM_MAX])
        with self._changed:
            if refusal not in self._refusals and len(self._refusals) >= REFUSALS_MAX:
                refusal = (action, "several", "refusals that came too fast to be told one by one")
            self._refusals[refusal] = self._refusals.get(refusal, 0) + 1
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waits() and not self._closing:
                    self._changed.wait(None if self._problem is None else RETRY_SECONDS)
                line = self._lines.popleft() if self._lines else None
                refusal = None
                if line is None and self._refusals:
                    refusal = next(iter(self._refusals))
                    count = self._refusals.pop(refusal)
                if line is None and refusal is None and self._closing:
                    return
            if line is not None:
                line.done(self._answer_waits(line))
            elif refusal is not None:
                action, who, problem = refusal
                result = "" if count == 1 else f"refused {count:,} times"
                details = Details(scope=SCOPE, problem=problem, result=result)
                self._write(action, details, who, lines=count)
            elif self._problem is not None:
                self._try_again()

    def _answer_waits(self, line: _Waiting) -> AuditError | None:
        try:
            error = self._write(line.action, line.details(), line.asked_by)
            return None if error is None else _refusal()
        except Exception:  # the outermost place: whoever waits for the line must hear of a bug
            LOG.exception("a line of the audit trail")
            return AuditError("a fault of the service", hint="see its log")

    def _waits(self) -> bool:
        return bool(self._lines or self._refusals)

    def _try_again(self) -> None:
        """Say how many lines are missing, which is the first that can be said again."""
        result = f"lines can be written again; {self._lost:,} could not be"
        self._write(Action.recover, Details(scope=SCOPE, result=result), "", lines=0)

    def _write(
        self, action: Action, details: Details, who: str, *, lines: int = 1
    ) -> AuditError | None:
        """Write a line; the reason if it cannot be. Then the room takes nothing until one can."""
        with self._writing:
            try:
                if self._problem is not None and action is not Action.recover:
                    self._try_again()  # what is missing is said first
                    if self._problem is not None:
                        raise self._problem
                self._trail.record(action, details, asked_by=who)
            except AuditError as error:
                if self._problem is None:
                    LOG.error("nothing is taken until a line can be written: %s", error)
                self._problem = error
                self._lost += lines
                with self._changed:  # the thread is to try again
                    self._changed.notify_all()
                return error
            if action is Action.recover:
                LOG.warning("the audit trail can be written again")
                self._problem, self._lost = None, 0
            return None


@contextlib.contextmanager
def refusing(audit: RoomAudit) -> Iterator[None]:
    """Tell the trail of an error that a block refuses something with.

    Raises:
        AuditError: No line can be written, so the block is not begun.
    """
    audit.check()
    try:
        yield
    except C2TError as error:
        audit.refused(error)
        raise


class RequestAudit:
    """The lines about one request: one when its texts are there; of a stream, one before, too.

    Args:
        audit: Takes them.
        request: Is hashed here, and not kept.
        bundle: Its digest.
        signer: Fingerprint of the trusted key.
        engine: What runs the graphs.
    """

    def __init__(
        self,
        audit: RoomAudit,
        request: DescribeRequest,
        *,
        bundle: str,
        signer: str,
        engine: str,
    ) -> None:
        self._audit = audit
        self._who = asked_by()  # a worker will say that the texts are there
        self._about = Details(
            scope=SCOPE,
            input=f"{len(request.cells):,} cells of a request",
            input_sha256=hashlib.sha256(msgspec.json.encode(request)).hexdigest(),
            bundle=bundle,
            signer=signer,
            engine=engine,
            settings=settings_of(request.settings),
        )

    def begin(self, done: Done) -> None:
        """Texts are about to be given while they are written."""
        details = replace(self._about, result="begun, and read while it is written")
        self._audit.submit(Action.request, lambda: details, done, who=self._who)

    def end(self, found: Callable[[], Details], done: Done) -> None:
        """All texts are there, or none will be.

        Args:
            found: Gives the cells, texts, result and problem; called in another thread.
            done: Told when the line is on the disk.
        """

        def details() -> Details:
            end = found()
            return replace(
                self._about,
                cells=end.cells,
                failed=end.failed,
                text_sha256=end.text_sha256,
                result=end.result,
                problem=end.problem,
            )

        self._audit.submit(Action.request, details, done, who=self._who)


def settings_of(settings: Settings) -> dict[str, str]:
    """What a request has asked for, by name; what it left open is the service's own setting."""
    given = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: str(value) for name, value in given.items() if value is not None}


def _refusal(*, stopping: bool = False) -> AuditError:
    """What a client is told. Where the trail lies, and what is wrong with it, is in the log."""
    if stopping:
        problem, hint = "the service is about to stop", "send it again when it is back"
    else:
        problem = "the audit trail takes no line, so nothing is given or begun"
        hint = "send it again when whoever runs the service has mended that; its log says more"
    return AuditError(problem, hint=hint)
