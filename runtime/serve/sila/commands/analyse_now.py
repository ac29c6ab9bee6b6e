"""Commands that are one analysis each: Annotate Now, Explain Now, Embed, Search and Ask.

One decision: threads of their own. Of all doors together one analysis is done at a time; those that
wait for their turn must not take the event loop's own threads from descriptions.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

import msgspec

from c2t.runtime.serve.room.analyses import WAITING_MAX, Unwanted
from c2t.runtime.serve.room.analysis_messages import AnnotateResponse, ExplainResponse
from c2t.runtime.serve.room.audit import refusing
from c2t.runtime.serve.room.questions import AskResponse, QuestionAnalyses
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.room.vector_messages import EmbedResponse, SearchResponse
from c2t.runtime.serve.room.vectors import VectorAnalyses
from c2t.runtime.serve.sila.commands.boxed import HeldBytes
from c2t.runtime.serve.sila.errors import DefinedErrors
from c2t.runtime.serve.sila.wire import (
    Result,
    json_line,
    read_annotate,
    read_ask,
    read_embed,
    read_explain,
    read_search,
)
from c2t.runtime.system.errors import C2TError

# One is under way, others wait; one more is there to be refused.
THREADS = WAITING_MAX + 2

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
AskedIn = TypeVar("AskedIn", contravariant=True)
AnswerOut = TypeVar("AnswerOut", covariant=True)
Command = Callable[..., Awaitable[dict[str, Any]]]  # takes parameters by name, and metadata
Responses = AnnotateResponse | ExplainResponse | EmbedResponse | SearchResponse


class Analyse(Protocol[AskedIn, AnswerOut]):
    """What a room does with a request."""

    def __call__(self, request: AskedIn, /, *, unwanted: Unwanted) -> AnswerOut:
        """Do it; asks at times whether somebody still waits."""


class AnalyseNow:
    """Makes these commands; they share threads.

    Args:
        room: Analyses.
        held: What is held before it has been answered.
    """

    def __init__(self, room: EngineRoom, *, held: HeldBytes) -> None:
        self._room = room
        self._held = held
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="c2t-sila-analysis")

    def of_descriptions(self, errors: DefinedErrors) -> dict[str, Command]:
        """The analyses of the feature Cell Description.

        Args:
            errors: The feature's.
        """
        analyses = self._room.analyses
        return {
            "AnnotateNow": self._command(errors, read_annotate, analyses.annotate, _responses),
            "ExplainNow": self._command(errors, read_explain, analyses.explain, _responses),
        }

    def of_vectors(self, errors: DefinedErrors) -> dict[str, Command]:
        """The commands of the feature Cell Vectors.

        Args:
            errors: The feature's.
        """
        analyses = VectorAnalyses(self._room.analyses)
        return {
            "Embed": self._command(errors, read_embed, analyses.embed, _responses),
            "Search": self._command(errors, read_search, analyses.search, _responses),
        }

    def of_questions(self, errors: DefinedErrors) -> dict[str, Command]:
        """The command of the feature Cell Questions.

        Args:
            errors: The feature's.
        """
        ask = QuestionAnalyses(self._room.analyses).ask
        return {"Ask": self._command(errors, read_ask, ask, _answers)}

    def _command(
        self,
        errors: DefinedErrors,
        read: Callable[[dict[str, Any]], Asked],
        analyse: Analyse[Asked, Answer],
        respond: Callable[[Answer], dict[str, Any]],
    ) -> Command:
        """A command that reads its parameters, does one analysis, and gives its responses."""

        async def run(*, metadata: dict[Any, Any], **parameters: Any) -> dict[str, Any]:
            def work(unwanted: Unwanted) -> Answer:
                with refusing(self._room.audit):  # what cannot be read has a line, too
                    request = read(parameters)
                return analyse(request, unwanted=unwanted)

            try:
                return respond(await self._run(work, len(parameters["Cells"])))
            except C2TError as error:
                raise errors.of(error) from None

        return run

    async def _run(self, work: Callable[[Unwanted], Answer], size: int) -> Answer:
        """Run in a thread, until it is done or the client ends the call."""
        gone = threading.Event()
        run = copy_context().run  # who asks, for the audit trail
        loop = asyncio.get_running_loop()
        try:
            with self._held.holding(size):
                return await loop.run_in_executor(self._threads, run, work, gone.is_set)
        finally:
            gone.set()


def _responses(response: Responses) -> dict[str, Any]:
    return _of(response.cells, response.warnings)


def _answers(response: AskResponse) -> dict[str, Any]:
    written = msgspec.json.encode(response.settings).decode()
    return _of(response.answers, response.warnings) | {"Written": written}


def _of(results: Sequence[Result], warnings: list[str]) -> dict[str, Any]:
    return {
        "Count": len(results),
        "Failed": sum(result.error is not None for result in results),
        "Warnings": warnings,
        "Results": b"".join(map(json_line, results)),
    }
