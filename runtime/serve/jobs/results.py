"""A job's results: read from its journal while it runs and after, and written as files.

One decision: the journal stays the results. Beside it lies the index, which says where each line
begins, eight bytes a cell: so any slice is found at once, in a job of any size. The index proves
nothing: each line that is read has its checksum.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.formats import OBS_SUFFIX, OUTPUT_FORMATS
from c2t.runtime.output.groups_file import GROUPS_SUFFIX
from c2t.runtime.output.journal import RunMark, read_line
from c2t.runtime.output.record import GROUPS_KEY, Record
from c2t.runtime.serve.jobs.folders import JobFolder, storing
from c2t.runtime.serve.jobs.groups import read_groups
from c2t.runtime.serve.jobs.state import ResultFormat
from c2t.runtime.system.checked_read import decode_json
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_file
from c2t.runtime.system.portable.open_flags import BINARY

LINES_HINT = "ask for jsonl, csv or parquet"
ENTRY = 8  # bytes, little-endian
# Names of files that are no `.h5ad` files; of others the content decides when it is asked for.
NO_H5AD = (
    *(".h5", ".h5mu", ".loom", ".gz", ".zip", ".csv", ".tsv", ".txt", ".tab", ".mtx", ".zarr"),
)


class LineIndex:
    """Writes where each line of a journal begins. What an earlier run wrote is written again.

    Args:
        path: The index.
    """

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o600)
        self._path = path
        self._stream = os.fdopen(handle, "r+b", buffering=0)
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def append(self, start: int) -> None:
        """Add the next line. Readers may use it when this returns."""
        self._stream.write(start.to_bytes(ENTRY, "little"))
        self.count += 1

    def cut(self) -> None:
        """Forget what an earlier run wrote beyond the lines that were added."""
        self._stream.truncate(self.count * ENTRY)

    def remove(self) -> None:
        """Forget all lines; nothing can be added any more."""
        self._stream.truncate(0)
        self._stream.close()
        with contextlib.suppress(PermissionError):  # on Windows, while somebody reads it
            self._path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Have it on the disk."""
        os.fsync(self._stream.fileno())


def cells_done(folder: JobFolder) -> int:
    """How many cells of a job have results."""
    try:
        return folder.index.stat().st_size // ENTRY
    except FileNotFoundError:
        return 0


def read_records(folder: JobFolder, first: int, count: int) -> Iterator[Record]:
    """Read results in their order, also while others are added.

    Args:
        first: Place of the first cell among the job's.
        count: How many; all of them must be there.

    Raises:
        OutputError: The journal is damaged.
    """
    if count <= 0:
        return
    with folder.index.open("rb") as index:
        index.seek(first * ENTRY)
        start = int.from_bytes(index.read(ENTRY), "little")
    with folder.journal.open("rb") as journal:
        journal.seek(start)
        for number, line in enumerate(itertools.islice(journal, count), first):
            yield read_line(line, f"the result of cell {number:,}", Record)


def result_suffix(kind: ResultFormat) -> str:
    """The suffix of a file of results."""
    return GROUPS_SUFFIX if kind == "groups" else f".{kind}"


def result_path(folder: JobFolder, name: str, kind: ResultFormat) -> Path:
    """Where a file of results lies once it was asked for."""
    suffix = result_suffix(kind)
    stem = name.removesuffix(OBS_SUFFIX).removesuffix(".json")
    return folder.results / (f"{stem}.c2t{suffix}" if suffix == OBS_SUFFIX else f"{stem}{suffix}")


def available_formats(source: str, name: str, *, grouped: bool = False) -> tuple[ResultFormat, ...]:
    """The formats that results of such cells can have here.

    Args:
        source: How the cells came; see `JobState`.
        name: The file's. Only a copy of an `.h5ad` file takes descriptions.
        grouped: Whether the cells are grouped.
    """
    formats: list[ResultFormat] = ["jsonl", "csv"]
    with contextlib.suppress(OutputError):
        OUTPUT_FORMATS[".parquet"].check(Path())
        formats.append("parquet")
    if source != "cells" and not name.lower().endswith(NO_H5AD):
        formats.append("h5ad")
    return (*formats, "groups") if grouped else tuple(formats)


def check_unchanged(folder: JobFolder, cells: Path) -> None:
    """Refuse to add descriptions to another file than the one that was described.

    Raises:
        OutputError: The file has changed since, or the journal is damaged.
    """
    with folder.journal.open("rb") as journal:
        mark = decode_json(
            journal.readline(), RunMark, name="the job", error=OutputError, hint=LINES_HINT
        )
    if CellsMark.of(cells) != mark.cells:
        problem = f"{cells.name} has changed since it was described"
        raise OutputError(problem, hint=LINES_HINT)


def write_results(
    folder: JobFolder, cells: Path, target: Path, count: int, about: dict[str, Any]
) -> None:
    """Write all results as a file, which appears when it is complete and on the disk.

    Args:
        cells: The file of cells.
        target: From `result_path`; its suffix says the format.
        count: Cells that are done.
        about: Provenance.

    Raises:
        OutputError: HDF5 cannot add to the file of cells, or the journal is damaged.
        StorageError: The disk is full.
    """
    OUTPUT_FORMATS[target.suffix].check(cells)
    with storing(target.name):
        folder.results.mkdir(mode=0o700, exist_ok=True)
        with atomic_file(target, force=True) as temporary:
            records: Iterator[Record] = read_records(folder, 0, count)
            if GROUPS_KEY in about:
                records = read_groups(folder).records(records)
            OUTPUT_FORMATS[target.suffix].write(cells, temporary, records, about)
