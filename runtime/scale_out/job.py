"""What a worker must know to describe ranges of a file: a job, as JSON.

One decision: a job names the bundle and the file by path, and says by hash what must be there. No
cell, no weight and no object of ours travels; a worker that sees other files refuses.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

import c2t
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.record import Record
from c2t.runtime.output.run_settings import run_settings
from c2t.runtime.system.errors import BundleError, C2TError, CellFileError, EngineError

# Errors that keep their kind on their way from a worker.
KINDS: dict[str, type[C2TError]] = {
    kind.__name__: kind for kind in (BundleError, CellFileError, EngineError)
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A file of cells, a bundle and how to describe.

    Attributes:
        bundle: The bundle's folder, an absolute path.
        bundle_sha256: Its digest.
        wholly: See `c2t.runtime.bundle.bundle.Bundle`.
        cells: The file of cells, an absolute path.
        cells_mark: What the file is.
        rows_sha256: Of the chosen rows (int64, little-endian).
        settings: All that changes a text, as whoever gives out the work found it.
        reading: See `c2t.runtime.cells.options.CellOptions`.
        describing: See `c2t.runtime.describe.describer.DescribeOptions`.
        c2t_version: Version of c2t that gives out the work.
    """

    bundle: str
    bundle_sha256: str
    wholly: bool
    cells: str
    cells_mark: CellsMark
    rows_sha256: str
    settings: dict[str, str]
    reading: dict[str, Any]
    describing: DescribeOptions
    c2t_version: str

    def encoded(self) -> bytes:
        """The job as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decoded(content: bytes) -> Job:
        """A job from JSON.

        Raises:
            C2TError: It is none.
        """
        try:
            return msgspec.json.decode(content, type=Job)
        except msgspec.MsgspecError as error:
            problem = f"a job cannot be read: {error}"
            raise C2TError(problem, hint="use the same version of c2t everywhere") from error

    def cell_options(self) -> CellOptions:
        """How to read the cells."""
        return CellOptions(**self.reading)


def make_job(
    bundle: Bundle,
    cells: Path,
    reader: CellReader,
    *,
    reading: CellOptions,
    describing: DescribeOptions,
) -> Job:
    """The job to describe a file that is open here.

    Args:
        bundle: Opened here.
        cells: The file.
        reader: It, opened with `reading`.
        reading: How to read it.
        describing: How to describe it.
    """
    values = asdict(reading)
    if reading.cells is not None:
        values["cells"] = list(reading.cells)
    return Job(
        bundle=os.path.realpath(bundle.path),
        bundle_sha256=bundle.digest,
        wholly=bundle.wholly,
        cells=os.path.realpath(cells),
        cells_mark=CellsMark.of(Path(os.path.realpath(cells))),
        rows_sha256=rows_hash(reader),
        settings=run_settings(bundle, describing, reader),
        reading=values,
        describing=describing,
        c2t_version=c2t.__version__,
    )


def rows_hash(reader: CellReader) -> str:
    """SHA-256 of the rows that are chosen."""
    return hashlib.sha256(reader.cell_index.astype("<i8").tobytes()).hexdigest()


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """A worker sees the files of a job, and has opened its engines.

    Attributes:
        label: Its engine.
        reason: Why it was chosen.
        hint: What would make it better; "" for nothing.
        cells_at_once: Cells that it sorts and writes together.
    """

    label: str
    reason: str
    hint: str
    cells_at_once: int


class Described(msgspec.Struct, frozen=True, kw_only=True, tag="described"):
    """The records of one range, and the engine that wrote them."""

    label: str
    records: list[Record]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """What a worker could not do: a `C2TError`, with the place of the worker."""

    kind: str
    where: str
    problem: str
    hint: str

    def error(self) -> C2TError:
        """It as an error again."""
        kind = KINDS.get(self.kind, C2TError)
        return kind(f"worker {self.where}: {self.problem}", hint=self.hint)


Answer = Ready | Described | Failed


def decode_answer(content: bytes) -> Answer:
    """What a worker answered.

    Raises:
        C2TError: It is no answer of this version.
    """
    try:
        answer: Answer = msgspec.json.decode(content, type=Answer)
    except (msgspec.MsgspecError, TypeError) as error:
        problem = f"a worker's answer cannot be read: {error}"
        raise C2TError(problem, hint="use the same version of c2t everywhere") from error
    return answer
