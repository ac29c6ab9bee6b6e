"""Observable commands as the library knows them, less what it does not free.

One decision: a command gets its parameters in a box that it empties. The library holds on to them,
and to the stack of an error, as long as it remembers the command: for an upload of 64 MB, an hour.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sila.framework import SiLAError, UndefinedExecutionError
from sila.server import CommandExecution, ObservableCommand

from c2t.runtime.serve.jobs.state import Status
from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.room.limits import OverloadedError
from c2t.runtime.serve.sila.errors import CancelledError, DefinedErrors, two_lines
from c2t.runtime.serve.sila.runs import Run, Runs
from c2t.runtime.system.errors import C2TError

Box = dict[str, Any]  # parameters by identifier
Follow = Callable[[str], AsyncIterator[dict[str, Any]]]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class BoxedCommand(ObservableCommand):
    """An observable command whose function takes `box`, `metadata` and `command_execution`.

    Args:
        follow: Intermediate responses of a Command Execution UUID, from the first on.
    """

    follow: Follow | None = dataclasses.field(repr=False, default=None)

    async def execute(
        self,
        parameters: Box,
        metadata: dict[Any, Any],
        command_execution: CommandExecution[Any],
    ) -> None:
        """Run the function; called by the library in a task of its own."""
        let_in("SiLA 2")  # the library tells nobody who its client is
        box = dict(parameters)
        parameters.clear()
        await super().execute({"box": box}, metadata, command_execution)
        try:
            command_execution.result()
        except SiLAError as error:
            error.__traceback__ = error.__context__ = error.__cause__ = None

    async def subscribe_intermediate(self, command_execution_uuid: str) -> AsyncIterator[bytes]:
        """All intermediate responses; whoever comes late gets the earlier ones too.

        Raises:
            InvalidCommandExecutionUUID: No such command.
        """
        assert self.feature is not None
        assert self.follow is not None
        context = self.feature.context
        context.get_command_execution(command_execution_uuid)
        package = self.feature.fully_qualified_identifier.rpc_package
        message = f"{package}.{self.identifier}_IntermediateResponses"
        async for responses in self.follow(command_execution_uuid):
            yield await context.protobuf.encode(message, responses)


@contextmanager
def ending(runs: Runs, run: Run, errors: DefinedErrors) -> Iterator[None]:
    """End a run as its block ends.

    Raises:
        DefinedExecutionError: What a `C2TError` of the block says.
        UndefinedExecutionError: There is a bug; it is in the log.
    """
    try:
        yield
    except C2TError as error:
        state: Status = "cancelled" if isinstance(error, CancelledError) else "failed"
        runs.end(run, state, two_lines(error.problem, error.hint))
        raise errors.of(error) from None
    except asyncio.CancelledError:
        runs.end(run, "failed", two_lines("the service stopped", "send the command again"))
        raise
    except Exception as bug:  # who waits for the command must hear that it has ended
        _LOG.exception("the command %s failed", run.id)
        problem = two_lines("the service failed", "see its log")
        runs.end(run, "failed", problem)
        raise UndefinedExecutionError(problem) from bug
    runs.end(run, "done")


class HeldBytes:
    """A limit on the cells and files that commands hold in memory before they are under way.

    Args:
        most: Bytes; one command may always hold what it has.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold so many bytes.

        Raises:
            OverloadedError: Others hold too many.
        """
        if self._held and self._held + size > self._most:
            problem = f"{self._held:,} bytes of cells are being read, at most {self._most:,} may be"
            raise OverloadedError(problem, hint="send these again in 5 s", retry_after=5)
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def waker(event: asyncio.Event) -> Callable[[], None]:
    """A function that sets an event of this event loop from any thread."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(event.set)

    return wake
