"""The commands Annotate Now and Explain Now: labels compared, texts explained, in one call.

One decision: threads of their own. Of all doors together one analysis is done at a time; those that
wait for their turn must not take the event loop's own threads from descriptions.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from c2t.runtime.serve.room.analyses import WAITING_MAX, Unwanted
from c2t.runtime.serve.room.analysis_messages import (
    AnnotateResponse,
    EvidenceResult,
    ExplainResponse,
    LabelResult,
)
from c2t.runtime.serve.room.audit import refusing
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.sila.commands.boxed import HeldBytes
from c2t.runtime.serve.sila.errors import DefinedErrors
from c2t.runtime.serve.sila.wire import json_line, read_annotate, read_explain
from c2t.runtime.system.errors import C2TError

# One is under way, others wait; one more is there to be refused.
THREADS = WAITING_MAX + 2

R = TypeVar("R", AnnotateResponse, ExplainResponse)


class AnalyseNow:
    """Runs both commands.

    Args:
        room: Compares and explains.
        errors: The feature's.
        held: What is held before it has been answered.
    """

    def __init__(self, room: EngineRoom, *, errors: DefinedErrors, held: HeldBytes) -> None:
        self._room = room
        self._errors = errors
        self._held = held
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="c2t-sila-analysis")

    async def annotate(self, *, metadata: dict[Any, Any], **parameters: Any) -> dict[str, Any]:
        """Compare labels for the cells.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """

        def annotate(unwanted: Unwanted) -> AnnotateResponse:
            with refusing(self._room.audit):  # what cannot be read has a line, too
                request = read_annotate(parameters)
            return self._room.analyses.annotate(request, unwanted=unwanted)

        return _responses(await self._run(annotate, len(parameters["Cells"])))

    async def explain(self, *, metadata: dict[Any, Any], **parameters: Any) -> dict[str, Any]:
        """Explain the texts of the cells.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """

        def explain(unwanted: Unwanted) -> ExplainResponse:
            with refusing(self._room.audit):
                request = read_explain(parameters)
            return self._room.analyses.explain(request, unwanted=unwanted)

        return _responses(await self._run(explain, len(parameters["Cells"])))

    async def _run(self, work: Callable[[Unwanted], R], size: int) -> R:
        """Run in a thread, until it is done or the client ends the call."""
        gone = threading.Event()
        run = copy_context().run  # who asks, for the audit trail
        loop = asyncio.get_running_loop()
        try:
            with self._held.holding(size):
                return await loop.run_in_executor(self._threads, run, work, gone.is_set)
        except C2TError as error:
            raise self._errors.of(error) from None
        finally:
            gone.set()


def _responses(response: AnnotateResponse | ExplainResponse) -> dict[str, Any]:
    results: list[LabelResult] | list[EvidenceResult] = response.cells
    return {
        "Count": len(results),
        "Failed": sum(cell.error is not None for cell in results),
        "Warnings": response.warnings,
        "Results": b"".join(map(json_line, results)),
    }
