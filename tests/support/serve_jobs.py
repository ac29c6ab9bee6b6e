"""Jobs over the tiny bundles: sent, waited for, read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState

CELLS = 60
OPTIONS = DescribeOptions(threads=1, batch_size=4)
TIMEOUT = 20.0
MakeJobs = Callable[..., Jobs]


def send(jobs: Jobs, path: Path, *, step: int = 10_000, **how: Any) -> JobState:
    """Upload a file in pieces."""
    content = path.read_bytes()
    with jobs.create_from_upload(path.name, size=len(content), **how) as upload:
        for start in range(0, len(content), step):
            upload.write(content[start : start + step])
        return upload.finish()


def finish(jobs: Jobs, job: JobState) -> JobState:
    """Wait for the end of a job."""
    after = -1
    while not jobs.get(job.id).has_ended:
        told = jobs.wait(job.id, after=after, timeout=TIMEOUT)
        assert told, f"nothing happened to {jobs.get(job.id)}"
        after = told[-1].id
    return jobs.get(job.id)


def until_some_are_done(jobs: Jobs, job: JobState, cells: int = 1) -> JobState:
    """Wait until a job has some results."""
    after = -1
    while jobs.get(job.id).done < cells:
        told = jobs.wait(job.id, after=after, timeout=TIMEOUT)
        assert told, jobs.get(job.id)
        after = told[-1].id
    return jobs.get(job.id)


def lines_of(jobs: Jobs, job: JobState, **slice_: int) -> bytes:
    """Results as lines."""
    return b"".join(jobs.lines(job.id, **slice_).lines)
