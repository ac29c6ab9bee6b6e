"""The command Describe Now: a few cells, and the answer to the same call.

One decision: it is not observable. An observable command takes three calls; one call costs about
half as much beside the work itself (`benchmarks/results/serve_overhead.json`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from sila.framework import BaseServer
from sila.server import UnobservableCommand

from c2t.runtime.serve.room.asking import let_in
from c2t.runtime.serve.sila.commands.boxed import waker
from c2t.runtime.serve.sila.commands.submit import Submitter
from c2t.runtime.serve.sila.errors import DefinedErrors
from c2t.runtime.serve.sila.wire import json_line
from c2t.runtime.system.errors import C2TError

CELLS_MAX = 64  # more of them are better watched


class PromptCommand(UnobservableCommand):
    """An unobservable command that ends when its client ends the call.

    The library's own goes on in a task of its own, for nobody.
    """

    async def execute(
        self, request: bytes = b"", metadata: dict[str, bytes] | None = None
    ) -> bytes:
        """Run the function; called by the library when a client asks for it."""
        let_in("SiLA 2")  # the library tells nobody who its client is
        assert self.feature is not None
        assert isinstance(self.feature.context, BaseServer)
        self.feature.context.accept_command_execution(self.fully_qualified_identifier)
        return await self._execute(request, metadata)


class DescribeNow:
    """Runs the command.

    Args:
        submitter: Gives the cells to the room.
        errors: The feature's.
    """

    def __init__(self, submitter: Submitter, *, errors: DefinedErrors) -> None:
        self._submitter = submitter
        self._errors = errors

    async def run(self, *, metadata: dict[Any, Any], **parameters: Any) -> dict[str, Any]:
        """Describe the cells.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """
        finished = asyncio.Event()
        try:
            ticket = await self._submitter.submit(parameters, waker(finished), cells_max=CELLS_MAX)
            try:
                await finished.wait()
                response = ticket.response()
            finally:
                ticket.cancel()
        except C2TError as error:
            raise self._errors.of(error) from None
        return {
            "Count": len(response.cells),
            "Failed": sum(cell.error is not None for cell in response.cells),
            "Warnings": response.warnings,
            "Results": b"".join(map(json_line, response.cells)),
        }
