"""From cells to files of descriptions: what `c2t describe` does around the model.

Every described cell goes into the journal at once (`journal.py`). When all are there, the outputs
are written from it, each in one step. So a run can be stopped at any moment and goes on from where
it was, and an output is either complete or not there.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.describe.description import Description
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.cellxgene import SchemaColumns
from c2t.runtime.output.formats import OBS_SUFFIX, OUTPUT_FORMATS
from c2t.runtime.output.grouping import Grouped, Grouping
from c2t.runtime.output.groups_file import groups_path, write_groups
from c2t.runtime.output.journal import Journal, RunMark, journal_path
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.record import EMBEDDING_KEY, GROUPS_KEY, Record, make_record
from c2t.runtime.output.text_files import json_line
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import atomic_files, check_target
from c2t.runtime.system.progress import Advance
from c2t.runtime.system.temporaries import remove_litter

# Given how many of the run's cells to pass over, describes the others, one after another.
Describe = Callable[[int], Iterator[Description]]


def no_progress(total: int, done: int) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda amount: None)


class DescribeInterrupted(KeyboardInterrupt):
    """The user stopped a run; what it described is kept.

    Attributes:
        done: Cells in the journal.
        total: Cells of the run.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__()
        self.done = done
        self.total = total


class DescribeEnded(SystemExit):
    """A signal ended a run; what it described is kept.

    Attributes:
        done: Cells in the journal.
        total: Cells of the run.
    """

    def __init__(self, code: Any, done: int, total: int) -> None:
        super().__init__(code)
        self.done = done
        self.total = total


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is described, and what a resumed run must have in common with the first.

    Attributes:
        cells: The file or folder of cells.
        rows: Its rows to describe [cells], increasing.
        bundle: Digest of the bundle.
        options: Everything else that changes the result, by name.
        about: Provenance to be stored with the descriptions: strings and numbers by name.
        c2t_version: Version of this package.
        embedding: Whether the cells' embeddings are kept.
    """

    cells: Path
    rows: NDArray[np.int64]
    bundle: str
    options: dict[str, str]
    about: dict[str, Any]
    c2t_version: str
    embedding: bool = False

    def mark(self) -> RunMark:
        """The run's mark in the journal."""
        return RunMark(
            bundle=self.bundle,
            cells=CellsMark.of(self.cells),
            rows=hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest(),
            n_rows=len(self.rows),
            options=self.options,
            c2t_version=self.c2t_version,
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended.

    Attributes:
        cells: Cells in the output.
        failed: Those of them that have an error instead of a text.
        error: The most frequent error, if there is one.
        error_cells: How many cells have it.
        resumed: Those that an earlier run had described.
        seconds: Time of this run.
        outputs: The files written.
        groups: How many groups there are, and how many have an answer; "" where none were asked.
        without_embedding: Cells without one, where they were to be written.
    """

    cells: int
    failed: int
    error: str | None = None
    error_cells: int = 0
    resumed: int
    seconds: float
    outputs: tuple[str, ...]
    groups: str = ""
    without_embedding: int = 0


def plan_outputs(
    cells: Path, output: Path | None, *, write_obs: bool = False, force: bool = False
) -> tuple[Path, ...]:
    """Decide which files to write, and refuse at once what could only fail at the end.

    Args:
        cells: The file or folder of cells to be described.
        output: The file to write; its suffix says the format.
        write_obs: Also write a copy of `cells` with the descriptions. It is called `NAME.c2t.h5ad`
            and lies where the output lies, or beside `cells`.
        force: Existing files may be replaced.

    Returns:
        The files to write; none means standard output.

    Raises:
        OutputError: An unknown suffix, a file that exists, the input itself, no pyarrow.
    """
    targets: list[Path] = []
    if output is not None:
        if output.suffix not in OUTPUT_FORMATS:
            problem = f"{output} has no suffix that says what to write"
            *others, last = OUTPUT_FORMATS
            raise OutputError(problem, hint=f"end its name in {', '.join(others)} or {last}")
        targets.append(output)
    if write_obs and (output is None or output.suffix != OBS_SUFFIX):
        folder = cells.parent if output is None else output.parent
        targets.append(folder / f"{cells.name.removesuffix(OBS_SUFFIX)}.c2t{OBS_SUFFIX}")
    places = []
    for target in targets:
        check_not_cells(target, cells)
        place = check_target(target, force=force)
        if place.suffix != target.suffix:
            problem = f"{target} is a link to {place}, whose name does not end in {target.suffix}"
            raise OutputError(problem, hint="remove the link, or choose another name")
        OUTPUT_FORMATS[target.suffix].check(cells)
        places.append(place)
    return tuple(places)


def describe_to_files(
    run: Run,
    targets: tuple[Path, ...],
    describe: Describe,
    *,
    force: bool = False,
    restart: bool = False,
    advance: Callable[[int, int], AbstractContextManager[Advance]] = no_progress,
    check: Callable[[], None] = lambda: None,
    kept: Callable[[Iterator[Record]], None] = lambda records: None,
    schema: SchemaColumns | None = None,
    grouping: Grouping | None = None,
) -> Summary:
    """Describe the cells that no earlier run described, then write the outputs.

    Args:
        run: What is described.
        targets: From `plan_outputs`, at least one. The journal lies beside the first.
        describe: Describes the run's cells in their order, from a given one on.
        force: Existing files may be replaced.
        restart: Describe all cells again, whatever an earlier run left.
        advance: Given the cells to do and those done before, shows progress.
        check: Raises a `C2TError` at the end if what described the cells was not what it should be.
        kept: Given the cells that an earlier run has described, if there are some.
        schema: Columns that copies of the cells get besides.
        grouping: Groups the cells; its table lies beside the first output.

    Raises:
        OutputError: A journal of another run is in the way, the file of cells changed meanwhile,
            or something cannot be written.
        DescribeInterrupted: Ctrl-C.
        DescribeEnded: SystemExit, which a signal was turned into.
    """
    started = time.monotonic()
    table = None if grouping is None else groups_path(targets[0])
    for target in targets if table is None else (*targets, table):
        remove_litter(target)
    mark = run.mark()
    rows = run.rows.tolist()
    with Journal(journal_path(targets[0]), mark, rows, kind=Record, restart=restart) as journal:
        resumed = journal.done
        if resumed:
            kept(journal.records())
        try:
            with advance(len(run.rows), resumed) as step:
                for row, described in numbered(run, describe, resumed):
                    journal.append(make_record(row, described, embedding=run.embedding))
                    step(1)
            try:
                check()
            except C2TError:
                journal.remove()  # nobody knows which of its texts are right
                raise
            mark.cells.check_unchanged(run.cells, hint="run again with --restart")
            errors, without = Counter[str](), 0
            for record in journal.records():
                errors.update([record.error] if record.error else ())
                without += record.embedding is None
            about = run.about | {"cells": len(run.rows), "cells_with_errors": errors.total()}
            grouped = None
            if grouping is not None:
                grouped = grouping.group(journal.records, len(run.rows))
                about |= {GROUPS_KEY: grouped.about}
            _write_all(
                run.cells, targets, journal, about, force=force, schema=schema, grouped=grouped
            )
        except KeyboardInterrupt as stop:
            raise DescribeInterrupted(journal.done, len(run.rows)) from stop
        except SystemExit as end:
            raise DescribeEnded(end.code, journal.done, len(run.rows)) from end
        finally:
            if journal.done == 0 < len(run.rows):
                journal.remove()
        journal.remove()
    outputs = targets if table is None else (*targets, table)
    done = summarize(run, errors, started, resumed, outputs)
    return replace(
        done,
        groups=grouped.sentence if grouped else "",
        without_embedding=without if EMBEDDING_KEY in run.about else 0,
    )


def describe_to_stream(run: Run, stream: IO[bytes], describe: Describe) -> Summary:
    """Describe the cells to a stream as lines of JSON; nothing is kept if it is interrupted."""
    started = time.monotonic()
    errors = Counter[str]()
    for row, described in numbered(run, describe, 0):
        record = make_record(row, described)
        if record.error:
            errors[record.error] += 1
        stream.write(json_line(record))
        stream.flush()
    return summarize(run, errors, started)


def summarize(
    run: Run,
    errors: Counter[str],
    started: float,
    resumed: int = 0,
    targets: tuple[Path, ...] = (),
) -> Summary:
    """How a run ended, given the errors of its cells and when it began (monotonic seconds)."""
    error, error_cells = errors.most_common(1)[0] if errors else (None, 0)
    return Summary(
        cells=len(run.rows),
        failed=errors.total(),
        error=error,
        error_cells=error_cells,
        resumed=resumed,
        seconds=round(time.monotonic() - started, 3),
        outputs=tuple(str(target) for target in targets),
    )


def numbered(run: Run, describe: Describe, start: int) -> Iterator[tuple[int, Description]]:
    """Descriptions with their rows; one too few or too many is a bug, never a shifted file."""
    rows = run.rows[start:].tolist()
    if rows:
        yield from zip(rows, describe(start), strict=True)


def _write_all(
    cells: Path,
    targets: tuple[Path, ...],
    journal: Journal[Record],
    about: dict[str, Any],
    *,
    force: bool,
    schema: SchemaColumns | None,
    grouped: Grouped | None,
) -> None:
    """Write every output; they appear together, so that a run that fails here can be repeated."""
    places = list(targets) if grouped is None else [*targets, groups_path(targets[0])]
    with (
        naming(", ".join(map(str, places))),
        atomic_files(places, force=force) as temporaries,
    ):
        for target, temporary in zip(targets, temporaries, strict=False):
            with naming(str(target)):
                write = OUTPUT_FORMATS[target.suffix].write
                records = journal.records()
                write(cells, temporary, grouped.records(records) if grouped else records, about)
                if schema is not None and target.suffix == OBS_SUFFIX:
                    schema.write(temporary, journal.records())
        if grouped is not None:
            with naming(str(places[-1])):
                write_groups(temporaries[-1], grouped.groups)


@contextmanager
def naming(targets: str) -> Iterator[None]:
    """Turn an error of the file system into one that says which output it struck."""
    try:
        yield
    except OSError as error:
        problem = f"cannot write {targets}: {error.strerror or error}"
        hint = "mend that and run the same command again: the descriptions are kept"
        raise OutputError(problem, hint=hint) from error
