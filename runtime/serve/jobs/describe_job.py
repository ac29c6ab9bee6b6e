"""One job from its cells to its results, from the beginning or from where it was.

One decision: the parts of `c2t describe` do the work: its reader, its journal, its mark of a run.
So the results are the same byte for byte, and a job goes on only as the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from c2t.runtime.bundle.tasks import EMBED
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.description import Description
from c2t.runtime.output.describe_file import CHUNK_CELLS, make_run
from c2t.runtime.output.grouping import prepare_grouping
from c2t.runtime.output.journal import Journal
from c2t.runtime.output.record import GROUPS_KEY, Record, make_record
from c2t.runtime.output.write import Run
from c2t.runtime.serve.jobs.errors import JobError, StorageError, renamed
from c2t.runtime.serve.jobs.folders import ROOM_HINT, JobFolder, storing
from c2t.runtime.serve.jobs.groups import keep_groups
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.inputs.request import JobRequest
from c2t.runtime.serve.jobs.picture.blob import write_blob
from c2t.runtime.serve.jobs.picture.build import FROM_FILE, VECTORS
from c2t.runtime.serve.jobs.picture.file_columns import file_columns
from c2t.runtime.serve.jobs.picture.vectors import VectorFile
from c2t.runtime.serve.jobs.results import LineIndex
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import BundleError, C2TError, EngineError, OutputError
from c2t.runtime.system.portable.sync import sync_path

AGAIN_HINT = "remove the job and make it again: its cells have to be described anew"
RESULTS = "the results"


class Progress(Protocol):
    """Told how far a job is."""

    def opened(self, reader: CellReader, about: dict[str, Any], left_out: list[str]) -> None:
        """The cells can be read.

        Args:
            reader: Reads them.
            about: Provenance, less what only the end can say.
            left_out: What a picture of the cells will lack, a sentence each.
        """

    def begins(self, cells: Path) -> None:
        """The first cell is about to be described.

        Args:
            cells: The file, which will be found out if it changes from now on.

        Raises:
            C2TError: It must not be begun.
        """

    def has(self, done: int, failed: int) -> None:
        """So many cells have results, and so many of those an error."""


def describe_job(
    folder: JobFolder,
    request: JobRequest,
    progress: Progress,
    *,
    room: EngineRoom,
    allowed: AllowedFolders,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Describe the cells of a job that no earlier run described.

    Returns:
        Provenance for the files of results, which are on the disk.

    Raises:
        JobCancelled: `cancelled` said so; what was described is kept.
        C2TError: Why it cannot be done.
    """
    bundle = room.model.bundle
    with (
        request.cells(folder, allowed) as path,
        _naming(path, request.name),
        request.table(folder, allowed) as table,
        _naming(table, "" if table is None else table.name),
        request.open(path, bundle, orthologues=table) as reader,
    ):
        describer = room.model.describer(room.describe_options(request.settings))
        run = make_run(path, reader, describer, bundle=bundle)
        options = request.reading.groups()
        grouping = None if options is None else prepare_grouping(options, reader, bundle.manifest)
        if grouping is not None and grouping.given is None:
            run = replace(run, embedding=True, options={**run.options, "embedding": "kept"})
        has_plane, left_out = _look(folder, request, run)
        draws = not has_plane and EMBED in bundle.manifest.tasks  # by the cells' embeddings
        left_out += grouping.warnings if grouping is not None else ()
        progress.opened(reader, run.about, left_out)
        with _Results(folder, run, progress) as results:
            progress.begins(path)
            if draws:
                results.keep_vectors(bundle.manifest.gene_input.hidden_size)
            described = room.describe_job(
                reader.chunks(results.done, chunk_cells=CHUNK_CELLS),
                request.settings,
                cancelled=cancelled,
                embed=run.embedding or draws,
            )
            with closing(described):  # type: ignore[type-var]  # a generator
                results.keep(described)
            results.check(room)
            results.sync()
            about = run.about | {"cells": results.done, "cells_with_errors": results.failed}
            if grouping is not None:
                grouped = grouping.group(results.records, results.done)
                keep_groups(folder, grouped)
                about |= {GROUPS_KEY: grouped.about}
            return about


class _Results:
    """What is kept of each cell: its line in the journal, the line's place, its short vector."""

    def __init__(self, folder: JobFolder, run: Run, progress: Progress) -> None:
        self.failed = 0
        self._folder, self._run, self._progress = folder, run, progress
        self._vectors: VectorFile | None = None
        self._mark = run.mark()
        self._told = False
        with ExitStack() as stack, storing(RESULTS):
            self._index = stack.enter_context(LineIndex(folder.index))
            self._journal = stack.enter_context(self._open_journal())
            self._index.cut()
            self._open = stack.pop_all()
        self._told = True
        progress.has(self.done, self.failed)

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def done(self) -> int:
        """Cells that have results."""
        return self._journal.done

    def records(self) -> Iterator[Record]:
        """What is kept, in the order of the cells."""
        return self._journal.records()

    def keep_vectors(self, width: int) -> None:
        """Keep a short vector of each cell too.

        Args:
            width: H, the embeddings' length.
        """
        with storing(RESULTS):
            file = VectorFile(self._folder.picture / VECTORS, width, done=self.done)
            self._vectors = self._open.enter_context(file)

    def keep(self, described: Iterator[Description]) -> None:
        """Keep the descriptions of all cells that have none.

        Raises:
            StorageError: The disk is full; what was kept stays.
            EngineError: It worked for none of them; none is kept.
        """
        begun_before, engine_failed = self.done > 0, ""
        rows = self._run.rows[self.done :].tolist()
        for row, description in zip(rows, described, strict=True):
            if description.engine_failed:
                engine_failed = description.error or ""
            with storing(RESULTS), _full_disk():
                # First the vector: a resumed job asks the journal which cells are left.
                if self._vectors is not None:
                    self._vectors.append(description.embedding)
                record = make_record(row, description, embedding=self._run.embedding)
                self._journal.append(record)
        if engine_failed and self.failed == self.done and not begun_before:
            self._forget()
            problem = f"no cell could be described: {engine_failed}"
            raise EngineError(problem, hint="run `c2t doctor`")

    def check(self, room: EngineRoom) -> None:
        """Throw all away if the bundle or the cells are not what they were.

        Raises:
            BundleError: A file of the bundle has changed.
            OutputError: The file of cells has.
        """
        try:
            room.model.bundle.check_unchanged()
            self._mark.cells.check_unchanged(self._run.cells, hint=AGAIN_HINT)
        except (BundleError, OutputError):  # nobody knows which of the texts are right
            self._forget()
            raise

    def sync(self) -> None:
        """Have all of it on the disk."""
        with storing(RESULTS), _full_disk():
            if self._vectors is not None:
                self._vectors.sync()
            self._journal.sync()
            self._index.sync()
            sync_path(self._folder.path)

    def _open_journal(self) -> Journal[Record]:
        path = self._folder.journal
        try:
            return Journal(
                path, self._mark, self._run.rows.tolist(), kind=Record, watch=self._watch
            )
        except OutputError as error:
            problem = error.problem.replace(str(path), "what this job has described before")
            raise JobError(problem, hint=AGAIN_HINT) from error

    def _forget(self) -> None:
        """Remove what was described."""
        self._index.remove()
        self._journal.remove()
        self._progress.has(0, 0)

    def _watch(self, start: int, record: Record) -> None:
        self._index.append(start)
        self.failed += record.error is not None
        if self._told:
            self._progress.has(self._index.count, self.failed)


def _look(folder: JobFolder, request: JobRequest, run: Run) -> tuple[bool, list[str]]:
    """Keep what the file says for a picture.

    Returns:
        Whether it has a plane, and what was left out.
    """
    with storing("what a picture needs"):
        folder.picture.mkdir(mode=0o700, exist_ok=True)
        columns, left_out = file_columns(run.cells, run.rows)
        write_blob(folder.picture / FROM_FILE, columns)
    return columns.scatter is not None, left_out


@contextmanager
def _full_disk() -> Iterator[None]:
    """The journal's own error gives a hint about a command, which there is none of here."""
    try:
        yield
    except OutputError as error:
        raise StorageError(error.problem, hint=f"{ROOM_HINT}, then resume this one") from error


@contextmanager
def _naming(path: Path | None, name: str) -> Iterator[None]:
    """Let errors call the file by its name: where it lies here is nobody's business."""
    try:
        yield
    except C2TError as error:
        if path is None:
            raise
        raise renamed(error, path, name) from error
