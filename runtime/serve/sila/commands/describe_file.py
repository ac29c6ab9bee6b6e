"""The command Describe File: a file of cells as a job, which outlives the client and the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from sila.server import CommandExecution

from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState, Reading
from c2t.runtime.serve.room.messages import Settings
from c2t.runtime.serve.sila.commands.boxed import Box, HeldBytes, ending, waker
from c2t.runtime.serve.sila.errors import CancelledError, DefinedErrors, JobFailedError
from c2t.runtime.serve.sila.options import RunLimits
from c2t.runtime.serve.sila.runs import Run, Runs
from c2t.runtime.serve.sila.wire import NONE, join_lines, read_text
from c2t.runtime.system.errors import C2TError


class DescribeFile:
    """Runs the command.

    Args:
        jobs: Describe files.
        runs: Keep what it gives.
        errors: The feature's.
        limits: Of the door's runs.
        held: What is held before it is on the disk.
    """

    def __init__(
        self,
        jobs: Jobs,
        runs: Runs,
        *,
        errors: DefinedErrors,
        limits: RunLimits,
        held: HeldBytes,
    ) -> None:
        self._jobs = jobs
        self._runs = runs
        self._errors = errors
        self._limits = limits
        self._held = held

    async def run(
        self, box: Box, metadata: dict[Any, Any], command_execution: CommandExecution[Any]
    ) -> dict[str, Any]:
        """Describe the file; called by the library when a client asks for it.

        Raises:
            DefinedExecutionError: What a `C2TError` says.
        """
        run = self._runs.of(command_execution)
        with ending(self._runs, run, self._errors):
            with self._held.holding(len(box["Data"])):
                job = await asyncio.to_thread(self._create, box)
            run.update(job)
            run.changed()
            job = await self._wait(job.id, run)
            return await self._responses(job, run)

    async def follow(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        """Intermediate responses: how far the job is."""
        run = self._runs.find(run_id)
        if run is not None:
            async for job in run.jobs():
                total = NONE if job.cells is None else job.cells
                yield {"JobId": job.id, "Done": job.done, "Count": total}

    def _create(self, box: Box) -> JobState:
        """Make the job; may wait for the disk."""
        settings = read_text(box.pop("Settings"), Settings, "Settings")
        reading = read_text(box.pop("Reading"), Reading, "Reading")
        path, name, data = box.pop("FilePath"), box.pop("FileName"), box.pop("Data")
        if bool(path) == bool(data):
            given = "both FilePath and Data" if path else "neither FilePath nor Data"
            problem = f"{given} say which cells to describe"
            raise C2TError(problem, hint="give one of them, and leave the other empty")
        if path:
            return self._jobs.create_from_path(path, settings=settings, reading=reading)
        if not name:
            problem = "Data has no FileName"
            raise C2TError(problem, hint='send its name too, for instance "cells.h5ad"')
        with self._jobs.create_from_upload(
            name, settings=settings, reading=reading, size=len(data)
        ) as upload:
            upload.write(data)
            return upload.finish()

    async def _wait(self, job_id: str, run: Run) -> JobState:
        """Wait until a job ends.

        Raises:
            CancelledError: Somebody cancelled the command or the job.
            JobFailedError: It could not describe its file to the end.
            JobNotFoundError: Somebody removed it.
        """
        loop, stopping = asyncio.get_running_loop(), False
        with run.listening() as changed, self._jobs.watch(job_id, waker(changed)):
            while True:
                job, before = self._jobs.get(job_id), run.job
                run.update(job)
                if job.has_ended:
                    break
                if run.cancelled and not stopping:
                    stopping = True
                    await asyncio.to_thread(self._jobs.cancel, job_id)
                    continue
                if job != before:
                    run.changed()
                run.tell(job.done / job.cells if job.cells else 0.0, moved=job != before)
                changed.clear()
                timer = loop.call_later(60.0, changed.set)  # its lifetime is to be extended
                await changed.wait()
                timer.cancel()
                if not (run.cancelled or self._jobs.get(job_id).has_ended):
                    # It changes at each cell; clients are told now and then.
                    await asyncio.sleep(self._limits.look_seconds)
        run.changed()
        if job.state == "cancelled":
            raise CancelledError
        if job.state == "failed":
            raise JobFailedError(job.problem or "the job failed", hint=job.hint or "")
        return job

    async def _responses(self, job: JobState, run: Run) -> dict[str, Any]:
        lines, content = await asyncio.to_thread(self._lines, job.id)
        run.bytes += len(content)
        return {
            "JobId": job.id,
            "Count": job.done,
            "Failed": job.failed_cells,
            "Warnings": list(job.warnings),
            "Returned": lines,
            "Results": content,
        }

    def _lines(self, job_id: str) -> tuple[int, bytes]:
        found = self._jobs.lines(job_id)
        with closing(found.lines):  # type: ignore[type-var]
            return join_lines(found.lines, self._limits.returned_bytes)
