"""The cells of a job that was described, opened again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.serve.jobs.errors import renamed
from c2t.runtime.serve.jobs.folders import JobFolder
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.inputs.request import JobRequest
from c2t.runtime.serve.jobs.results import check_unchanged
from c2t.runtime.serve.room.analyses import CellSource
from c2t.runtime.system.errors import C2TError


def cell_source(
    job_id: str, folder: JobFolder, allowed: AllowedFolders, bundle: Bundle
) -> CellSource:
    """The cells of a job; they are opened when somebody asks about one.

    Raises:
        C2TError: Somebody has changed the job's request.
    """
    request = JobRequest.read(folder)
    return CellSource(
        name=f"job {job_id}, {request.name}",
        settings=request.settings,
        open=partial(_open, request, folder, allowed, bundle),
    )


@contextmanager
def _open(
    request: JobRequest,
    folder: JobFolder,
    allowed: AllowedFolders,
    bundle: Bundle,
    *,
    named: bool = False,
) -> Iterator[CellReader]:
    """The cells, read as the job reads them, until the block ends.

    Raises:
        C2TError: They cannot be read, or are others than those that were described.
    """
    with request.cells(folder, allowed) as path, request.table(folder, allowed) as table:
        try:
            if request.path is not None:
                check_unchanged(folder, path)
            reader = request.open(path, bundle, orthologues=table, named=named)
        except C2TError as error:
            if table is not None:
                error = renamed(error, table, table.name)
            raise renamed(error, path, request.name) from error
        with reader:
            yield reader
