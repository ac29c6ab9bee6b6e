"""From cells to a folder of parts: for atlases whose descriptions no single file should hold.

Each part is written when its last cell is described, in one step; its cells wait in a journal
until then. So a run that is stopped at any moment, on this machine or by a lost scheduler, goes on
from the cell where it was, and never has more than one part to write again.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import msgspec

from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.describe.description import Description
from c2t.runtime.output.grouping import Grouped, Grouping
from c2t.runtime.output.groups_file import write_groups
from c2t.runtime.output.journal import Journal, RunMark, journal_path
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.parquet import (
    check_parquet,
    read_parquet,
    write_cell_groups,
    write_parquet,
)
from c2t.runtime.output.parts.manifest import (
    CELL_GROUPS,
    ERRORS_KEPT,
    GROUPS,
    MANIFEST,
    MANIFEST_FORMAT,
    PartEntry,
    PartsManifest,
    errors_of,
)
from c2t.runtime.output.parts.plan import PART_CELLS, Part, PartPlan
from c2t.runtime.output.parts.progress import PROGRESS, PartsProgress
from c2t.runtime.output.record import GROUPS_KEY, Record, make_record
from c2t.runtime.output.write import (
    Describe,
    DescribeEnded,
    DescribeInterrupted,
    Run,
    Summary,
    naming,
    no_progress,
    numbered,
    summarize,
)
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.files import atomic_file, check_folder_target
from c2t.runtime.system.progress import Advance
from c2t.runtime.system.temporaries import remove_litter

PARTS_SUFFIX = ".parts"
_JOURNALS = ".part-*.parquet.partial"


def plan_folder(cells: Path, folder: Path, *, force: bool = False) -> Path:
    """Refuse at once a folder that cannot or must not be written.

    Raises:
        OutputError: It is complete or holds something else, its table of groups is the file of
            cells, or there is no pyarrow.
    """
    check_parquet(cells)
    check_not_cells(folder / GROUPS, cells)
    if (folder / PROGRESS).is_file():
        return Path(folder)  # an earlier run's, which may be gone on with
    return check_folder_target(folder, force=force)


def describe_to_parts(
    run: Run,
    folder: Path,
    describe: Describe,
    *,
    restart: bool = False,
    advance: Callable[[int, int], AbstractContextManager[Advance]] = no_progress,
    check: Callable[[], None] = lambda: None,
    kept: Callable[[Iterator[Record]], None] = lambda records: None,
    part_cells: int = PART_CELLS,
    grouping: Grouping | None = None,
) -> Summary:
    """Describe the cells that no earlier run described into parts, then write the manifest.

    Args:
        run: What is described.
        folder: From `plan_folder`. What a complete run left there is replaced.
        describe: See `c2t.runtime.output.write.describe_to_files`, as for the others.
        restart: Describe all cells again, whatever an earlier run left.
        advance: Shows progress.
        check: Raises a `C2TError` after a part if what described it was not what it should be.
        kept: Given the cells that an earlier run has described, if there are some.
        part_cells: Cells of a part.
        grouping: Groups the cells when all parts are in place: a table of the groups, and one of
            each cell's group.

    Raises:
        OutputError: Parts of another run are in the way, the file of cells changed meanwhile, or
            something cannot be written.
        DescribeInterrupted: Ctrl-C.
        DescribeEnded: SystemExit, which a signal was turned into.
    """
    started = time.monotonic()
    mark = run.mark()
    plan = PartPlan(cells=len(run.rows), part_cells=part_cells)
    folder.mkdir(exist_ok=True)
    with PartsProgress(folder, mark, plan, restart=restart) as progress:
        if not progress.entries:
            _remove_files(folder, journals=restart)
        work = _Parts(run, folder, mark, progress, plan)
        resumed = work.done
        try:
            if resumed:
                kept(work.records())
            with advance(len(run.rows), resumed) as step:
                work.write_all(numbered(run, describe, resumed), step, check)
            mark.cells.check_unchanged(run.cells, hint="run again with --restart")
            grouped = None
            beside = []
            for name in (GROUPS, CELL_GROUPS):  # of a run that was stopped before its manifest
                (folder / name).unlink(missing_ok=True)
            if grouping is not None:
                grouped = grouping.group(work.records, len(run.rows))
                run = replace(run, about=run.about | {GROUPS_KEY: grouped.about})
                beside = _write_grouped(folder, run, grouped, work.records())
            _write_manifest(folder, run, mark, progress.entries, beside=beside)
        except KeyboardInterrupt as stop:
            raise DescribeInterrupted(work.done, len(run.rows)) from stop
        except SystemExit as end:
            raise DescribeEnded(end.code, work.done, len(run.rows)) from end
        finally:
            if work.done == 0 < len(run.rows):
                _remove_files(folder, journals=True)
                progress.remove()
        progress.remove()
    written = (folder / MANIFEST, *beside)
    done = summarize(run, errors_of(progress.entries), started, resumed, written)
    done = replace(done, failed=sum(entry.failed for entry in progress.entries))
    return done if grouped is None else replace(done, groups=grouped.sentence)


class _Parts:
    """The parts of a run, written one after another.

    Attributes:
        done: Cells in finished parts and in the journal of the part that is being written.
    """

    def __init__(
        self, run: Run, folder: Path, mark: RunMark, progress: PartsProgress, plan: PartPlan
    ) -> None:
        self._run, self._folder, self._mark = run, folder, mark
        self._progress, self._plan = progress, plan
        self.done = progress.cells
        here = [journal_path(folder / part.name) for part in self._unfinished()]
        for path in folder.glob(_JOURNALS):
            if path not in here:  # of a part that is in place, or whose turn is not yet
                path.unlink()
        for part in self._unfinished():
            with self._journal(part) as journal:
                self.done += journal.done

    def records(self) -> Iterator[Record]:
        """All cells that are described, in their order."""
        for entry in self._progress.entries:
            yield from read_parquet(self._folder / entry.file, entry.first)
        for part in self._unfinished():
            with self._journal(part) as journal:
                yield from journal.records()

    def write_all(
        self,
        described: Iterator[tuple[int, Description]],
        step: Advance,
        check: Callable[[], None],
    ) -> None:
        """Describe and write every part that is left."""
        for part in self._plan.after(len(self._progress.entries)):
            with self._journal(part) as journal:
                for row, description in itertools.islice(described, part.cells - journal.done):
                    journal.append(make_record(row, description, embedding=self._run.embedding))
                    self.done += 1
                    step(1)
                try:
                    check()
                except C2TError:
                    journal.remove()  # nobody knows which of its texts are right
                    raise
                self._progress.append(self._write(part, journal))
                journal.remove()
        next(described, None)  # raises if there is one too many

    def _unfinished(self) -> Iterator[Part]:
        """The part that is being written, if there is one."""
        return itertools.islice(self._plan.after(len(self._progress.entries)), 1)

    def _journal(self, part: Part) -> Journal[Record]:
        rows = self._run.rows[part.first : part.stop]
        digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        mark = replace(self._mark, rows=digest, n_rows=part.cells)
        return Journal(journal_path(self._folder / part.name), mark, rows.tolist(), kind=Record)

    def _write(self, part: Part, journal: Journal[Record]) -> PartEntry:
        path = self._folder / part.name
        errors = Counter(record.error for record in journal.records() if record.error)
        about = self._run.about | {
            "part": part.number,
            "first_cell": part.first,
            "cells": part.cells,
            "cells_with_errors": errors.total(),
        }
        remove_litter(path)
        with naming(str(path)), atomic_file(path, force=True) as temporary:
            write_parquet(self._run.cells, temporary, journal.records(), about)
        return PartEntry(
            file=part.name,
            first=part.first,
            rows=part.cells,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            failed=errors.total(),
            errors=dict(errors.most_common(ERRORS_KEPT)),
        )


def _write_manifest(
    folder: Path, run: Run, mark: RunMark, entries: list[PartEntry], *, beside: Sequence[Path]
) -> None:
    manifest = PartsManifest(
        format=MANIFEST_FORMAT,
        c2t_version=run.c2t_version,
        bundle_sha256=run.bundle,
        cells=mark.cells,
        rows=mark.n_rows,
        rows_sha256=mark.rows,
        failed=sum(entry.failed for entry in entries),
        settings=run.options,
        about=run.about,
        parts=tuple(entries),
        beside={path.name: sha256_of(path) for path in beside},
    )
    path = folder / MANIFEST
    with naming(str(path)), atomic_file(path, force=True) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def _write_grouped(
    folder: Path, run: Run, grouped: Grouped, records: Iterator[Record]
) -> list[Path]:
    """Write the groups, and which cell is in which: parts are not written again."""
    written = [folder / GROUPS, folder / CELL_GROUPS]
    for path in written:
        remove_litter(path)
        with naming(str(path)), atomic_file(path, force=True) as temporary:
            if path.name == GROUPS:
                write_groups(temporary, grouped.groups)
            else:
                write_cell_groups(temporary, grouped.records(records), run.about)
    return written


def _remove_files(folder: Path, *, journals: bool) -> None:
    """Remove a manifest, then the parts, and nothing else."""
    patterns = (
        *(MANIFEST, "part-*.parquet", GROUPS, CELL_GROUPS),
        *([_JOURNALS] if journals else []),
    )
    for path in [path for pattern in patterns for path in sorted(folder.glob(pattern))]:
        path.unlink()
