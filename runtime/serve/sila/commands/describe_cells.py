"""The command Describe Cells: cells whose counts are in the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from sila.server import CommandExecution

from c2t.runtime.serve.room.ticket import CellDone, Ticket
from c2t.runtime.serve.sila.commands.boxed import Box, ending, waker
from c2t.runtime.serve.sila.commands.submit import Submitter
from c2t.runtime.serve.sila.errors import CancelledError, DefinedErrors
from c2t.runtime.serve.sila.options import RunLimits
from c2t.runtime.serve.sila.runs import Run, Runs
from c2t.runtime.serve.sila.wire import cell_responses, join_lines, json_line

DRAIN_SECONDS = 0.2  # that a client with a slow line may hold up the end


class DescribeCells:
    """Runs the command.

    Args:
        submitter: Gives the cells to the room.
        runs: Keep what it gives.
        errors: The feature's.
        limits: Of the door's runs.
    """

    def __init__(
        self,
        submitter: Submitter,
        runs: Runs,
        *,
        errors: DefinedErrors,
        limits: RunLimits,
    ) -> None:
        self._submitter = submitter
        self._runs = runs
        self._errors = errors
        self._limits = limits

    async def run(
        self, box: Box, metadata: dict[Any, Any], command_execution: CommandExecution[Any]
    ) -> dict[str, Any]:
        """Describe the cells; called by the library when a client asks for it.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """
        run = self._runs.of(command_execution)
        with ending(self._runs, run, self._errors):
            with run.listening() as changed:
                ticket = await self._submitter.submit(box, waker(changed))
                try:
                    await self._collect(ticket, run, changed)
                finally:
                    ticket.cancel()
            await run.drain(DRAIN_SECONDS)
            return self._responses(ticket, run)

    async def follow(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        """Intermediate responses: the cells as they finish."""
        run = self._runs.find(run_id)
        if run is not None:
            async for place, result in run.cells():
                yield cell_responses(place, result)

    async def _collect(self, ticket: Ticket, run: Run, changed: asyncio.Event) -> None:
        """Take the cells as they finish.

        Raises:
            CancelledError: Somebody cancelled the command.
            EngineError: The engine is broken, or the service stopped.
        """
        loop = asyncio.get_running_loop()
        run.begin(ticket.cells)
        while True:
            # The room wakes once, at the end; for what comes before, one has to look.
            timer = loop.call_later(self._limits.look_seconds, changed.set)
            await changed.wait()
            timer.cancel()
            changed.clear()
            if run.cancelled:
                raise CancelledError
            ended = ticket.finished
            new = [event for event in ticket.take() if isinstance(event, CellDone)]
            for event in new:
                run.add(event.cell, event.result)
            if ended:
                ticket.response()  # raises what went wrong
                return
            if new:
                run.changed()
                changed.clear()  # it listens too
            run.tell(run.finished / ticket.cells, moved=bool(new))

    def _responses(self, ticket: Ticket, run: Run) -> dict[str, Any]:
        lines, content = join_lines(map(json_line, run.results()), self._limits.returned_bytes)
        run.bytes += len(content)
        return {
            "Count": run.finished,
            "Failed": run.failed,
            "Warnings": list(ticket.warnings),
            "Returned": lines,
            "Results": content,
        }
