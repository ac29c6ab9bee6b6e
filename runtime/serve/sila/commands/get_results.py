"""The command Get Results: what a job has so far, for those who were away."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState
from c2t.runtime.serve.sila.errors import DefinedErrors, two_lines
from c2t.runtime.serve.sila.runs import Run, Runs
from c2t.runtime.serve.sila.wire import NONE, join_lines, json_line
from c2t.runtime.system.errors import C2TError

# So that an answer goes in one message, and nothing of it has to be kept.
ANSWER_BYTES_MAX = 1 << 20


class GetResults:
    """Runs the command.

    Args:
        jobs: Describe files.
        runs: Keep what other commands gave.
        errors: The feature's.
    """

    def __init__(self, jobs: Jobs, runs: Runs, *, errors: DefinedErrors) -> None:
        self._jobs = jobs
        self._runs = runs
        self._errors = errors

    async def run(self, *, metadata: dict[Any, Any], **parameters: Any) -> dict[str, Any]:
        """Get results; called by the library when a client asks for them.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """
        name, first, count = parameters["JobId"], parameters["First"], parameters["Count"]
        run = self._runs.find(name)
        try:
            if run is None or run.job is not None:
                job_id = name if run is None or run.job is None else run.job.id
                return await asyncio.to_thread(self._of_job, job_id, first, count)
            return _of_run(run, first, count)
        except C2TError as error:
            raise self._errors.of(error) from None

    def _of_job(self, job_id: str, first: int, count: int) -> dict[str, Any]:
        job = self._jobs.get(job_id)
        found = self._jobs.lines(job_id, first=first, count=count)
        with closing(found.lines):  # type: ignore[type-var]  # a generator
            lines, content = join_lines(found.lines, ANSWER_BYTES_MAX)
        total = NONE if job.cells is None else job.cells
        return _responses(job.state, (job.done, total), _problem(job), (lines, content))


def _of_run(run: Run, first: int, count: int) -> dict[str, Any]:
    lines = map(json_line, run.results(first, count))
    total = NONE if run.total is None else run.total
    return _responses(
        run.state, (run.done, total), run.problem, join_lines(lines, ANSWER_BYTES_MAX)
    )


def _problem(job: JobState) -> str:
    return two_lines(job.problem, job.hint) if job.problem else ""


def _responses(
    state: str, done: tuple[int, int], problem: str, lines: tuple[int, bytes]
) -> dict[str, Any]:
    return {
        "State": state,
        "Done": done[0],
        "Total": done[1],
        "Problem": problem,
        "Returned": lines[0],
        "Results": lines[1],
    }
