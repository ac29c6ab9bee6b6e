"""Results of a job as lines of JSON, which are read while somebody reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from c2t.runtime.output.text_files import json_line
from c2t.runtime.serve.jobs.errors import JobNotFoundError
from c2t.runtime.serve.jobs.registry import JobEntry
from c2t.runtime.serve.jobs.results import read_records


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Results as lines of JSON, newlines included: those of `c2t describe`, byte for byte.

    Attributes:
        first: Place of the first cell among the job's.
        count: How many lines.
        lines: The lines; closing the iterator closes the file.
    """

    first: int
    count: int
    lines: Iterator[bytes]


def read_lines(entry: JobEntry, first: int, count: int) -> Iterator[bytes]:
    """Lines of some of a job's cells.

    Args:
        first: Place of the first cell.
        count: How many are there.

    Raises:
        JobNotFoundError: The job was removed meanwhile.
    """
    try:
        for record in read_records(entry.folder, first, count):
            yield json_line(record)
    except FileNotFoundError:
        raise removed(entry.state.id) from None


def removed(job_id: str) -> JobNotFoundError:
    """The error of a job that was removed."""
    problem = f"job {job_id} was removed"
    return JobNotFoundError(problem, hint="make it again")
