"""`(start, stop) → records`: what one process of a cluster does, whatever brings the ranges.

Dask calls `look` and `describe_range`; a Ray actor or a Triton model holds a `Work` of its own. A
process opens the files and the engines once, and keeps them for the next range.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

import c2t
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.model import Model
from c2t.runtime.describe.prompted_inbox import WINDOW_BATCHES
from c2t.runtime.output.cells_mark import CellsMark, source_states
from c2t.runtime.output.describe_file import CHUNK_CELLS
from c2t.runtime.output.record import Record, make_record
from c2t.runtime.output.run_settings import run_settings
from c2t.runtime.scale_out.job import Answer, Described, Failed, Job, Ready, rows_hash
from c2t.runtime.system.errors import BundleError, C2TError, CellFileError

SAME_HINT = "give every worker the same files under the same paths"


class Work:
    """A job that is opened in this process. Threads may share it: they take turns.

    Args:
        job: What to describe, and how.

    Raises:
        BundleError: Another bundle, or one that was changed, is at the job's path.
        CellFileError: Another file of cells is there, or it reads differently here.
        EngineError: No engine runs here.
        C2TError: The job comes from another version of c2t.
    """

    def __init__(self, job: Job) -> None:
        _check_version(job)
        self.job = job
        path = Path(job.cells)
        check_cells_path(path)
        self._file = path
        self._state = source_states(self._file)
        if CellsMark.of(path) != job.cells_mark:
            problem = f"{path} is another file here: its length, hash or time of change differs"
            raise CellFileError(problem, hint=SAME_HINT)
        self._bundle = open_bundle(job.bundle, verify=False)
        self._bundle.check_on_use(wholly=job.wholly)
        if self._bundle.digest != job.bundle_sha256:
            here, there = self._bundle.digest[:12], job.bundle_sha256[:12]
            problem = f"{job.bundle} is another bundle here ({here}, not {there})"
            raise BundleError(problem, hint=SAME_HINT)
        self._reader = open_cells(path, self._bundle, job.cell_options())
        try:
            self._check_reading()
            self._model = Model(self._bundle, job.describing)
            self._describer = self._model.describer()
        except BaseException:
            self._reader.close()
            raise
        self._lock = threading.Lock()
        self._has_worked = False

    @property
    def cells(self) -> int:
        """Number of chosen cells."""
        return self._reader.n_cells

    @property
    def ready(self) -> Ready:
        """What describes cells here."""
        describer = self._describer
        return Ready(
            label=describer.engines.label,
            reason=describer.reason,
            hint=describer.engines.hint,
            cells_at_once=WINDOW_BATCHES * describer.options.batch_size * describer.most_workers,
        )

    def records(self, start: int, stop: int) -> list[Record]:
        """Describe the chosen cells [start, stop), in their order.

        Raises:
            C2TError: The range is not in the file.
            CellFileError: The file is damaged, or was changed since it was opened.
            BundleError: The bundle was changed since it was opened.
            EngineError: The engine fails for all cells, and has never worked here.
        """
        if not 0 <= start < stop <= self.cells:
            problem = f"cells {start:,} to {stop:,} are asked for"
            raise C2TError(problem, hint=f"give a range within 0 to {self.cells:,}")
        with self._lock:
            chunks = self._reader.chunks(start, stop, chunk_cells=CHUNK_CELLS)
            rows = self._reader.cell_index[start:stop].tolist()
            described = self._describer.describe(chunks, going_on=self._has_worked)
            pairs = zip(rows, described, strict=True)
            keep = self.job.describing.embedding
            records = [make_record(row, cell, embedding=keep) for row, cell in pairs]
            self._check_unchanged()
            self._has_worked |= any(record.text is not None for record in records)
        return records

    def close(self) -> None:
        """Give everything back, after a range that is being described."""
        with self._lock:
            self._model.close()
            self._reader.close()

    def _check_reading(self) -> None:
        """Refuse a file that reads differently here than where the work was given out."""
        settings = run_settings(self._bundle, self.job.describing, self._reader)
        for name, value in self.job.settings.items():
            if settings.get(name) != value:
                problem = f"{name} is {settings.get(name)} here, not {value}"
                raise CellFileError(problem, hint=SAME_HINT)
        if rows_hash(self._reader) != self.job.rows_sha256:
            problem = f"other cells of {self.job.cells} are chosen here"
            raise CellFileError(problem, hint=SAME_HINT)

    def _check_unchanged(self) -> None:
        self._bundle.check_unchanged()
        try:
            same = source_states(self._file) == self._state
        except (OSError, CellFileError):
            same = False
        if not same:
            problem = f"{self.job.cells} changed while it was described"
            raise CellFileError(problem, hint="run again with --restart")


def look(content: bytes) -> bytes:
    """Open a job, and say what describes cells here.

    Args:
        content: The job as JSON.

    Returns:
        An answer as JSON: a C2TError is an answer, too, so that no error need be unpickled.
    """
    return _answered(lambda: _opened.work(content).ready)


def describe_range(content: bytes, start: int, stop: int) -> bytes:
    """Describe a range of a job's cells.

    Args:
        content: The job as JSON.
        start: The first cell, among the chosen ones.
        stop: The one after the last.

    Returns:
        An answer as JSON, as `look` gives.
    """

    def describe() -> Described:
        work = _opened.work(content)
        return Described(label=work.ready.label, records=work.records(start, stop))

    return _answered(describe)


class _Opened:
    """The job that this process has open: one at a time, so that only its engines take memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._content = b""
        self._work: Work | None = None

    def work(self, content: bytes) -> Work:
        """The opened job; another one is closed."""
        with self._lock:
            if self._work is None or self._content != content:
                if self._work is not None:
                    self._work.close()
                    self._work = None
                self._work = Work(Job.decoded(content))
                self._content = content
            return self._work


_opened = _Opened()


def _answered(do: Callable[[], Answer]) -> bytes:
    try:
        answer = do()
    except (C2TError, OSError) as error:
        where, kind = f"{os.getpid()} on {platform.node()}", type(error).__name__
        if isinstance(error, C2TError):
            problem, hint = error.problem, error.hint
        else:  # raised as it is, a time-out of a network share would be taken for one of waiting
            problem, hint = str(error), "see whether the files can be read there, and run it again"
        answer = Failed(kind=kind, where=where, problem=problem, hint=hint)
    return msgspec.json.encode(answer)


def _check_version(job: Job) -> None:
    if job.c2t_version != c2t.__version__:
        problem = f"c2t {c2t.__version__} is installed here, not {job.c2t_version}"
        raise C2TError(problem, hint="install the same version of c2t everywhere")
