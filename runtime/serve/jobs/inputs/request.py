"""What was asked for when a job was made, kept in its folder, and its cells opened by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.formats.count_maps import CountMaps
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.serve.jobs.errors import JobError
from c2t.runtime.serve.jobs.folders import JobFolder
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.state import Reading
from c2t.runtime.serve.room.messages import DescribeRequest, Settings
from c2t.runtime.system.checked_read import read_json

CELLS_NAME = "cells.json"  # of cells that the request holds
REQUEST_BYTES_MAX = 1 << 30
HINT = "remove the job, and make it again"


class JobRequest(msgspec.Struct, kw_only=True, frozen=True):
    """What was asked for.

    Args:
        source: How the cells came.
        name: The file's name.
        path: Where it lies, if it lay here; links are followed.
        settings: How to describe.
        reading: How to read.
    """

    source: Literal["upload", "path", "cells"]
    name: str
    path: str | None = None
    settings: Settings
    reading: Reading

    def digest(self, cells: str = "") -> str:
        """SHA-256 that tells this request from others.

        Args:
            cells: SHA-256 of the cells that were sent.
        """
        content = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(content + b"\n" + cells.encode()).hexdigest()

    def write(self, folder: JobFolder) -> None:
        """Keep it in a job's folder.

        Raises:
            OSError: The disk is full.
        """
        folder.request.write_bytes(msgspec.json.encode(self))

    @staticmethod
    def read(folder: JobFolder) -> JobRequest:
        """Read it again.

        Raises:
            JobError: Somebody has changed it.
        """
        return read_json(
            folder.request, JobRequest, bytes_max=REQUEST_BYTES_MAX, error=JobError, hint=HINT
        )

    @contextmanager
    def cells(self, folder: JobFolder, allowed: AllowedFolders) -> Iterator[Path]:
        """Give the path of the file of cells; it leads there until the block ends.

        Raises:
            PathRefusedError: It lay here, and may not be read any more.
        """
        if self.path is None:
            yield folder.input / self.name
            return
        with allowed.open(Path(self.path), folder.path) as path:
            yield path

    @contextmanager
    def table(self, folder: JobFolder, allowed: AllowedFolders) -> Iterator[Path | None]:
        """Give the path of the table of orthologues; it leads there until the block ends.

        Raises:
            PathRefusedError: It may not be read any more.
        """
        if self.reading.orthologues is None:
            yield None
            return
        with allowed.open(Path(self.reading.orthologues), folder.path) as path:
            yield path

    def open(
        self,
        path: Path,
        bundle: Bundle,
        *,
        orthologues: Path | None = None,
        named: bool = False,
    ) -> CellReader:
        """Open the cells for a bundle.

        Args:
            path: From `cells`.
            orthologues: From `table`.
            named: See `c2t.runtime.cells.inputs.cell_input.bundle_input`.

        Raises:
            CellFileError: They cannot be read as counts over known genes.
        """
        options = self.reading.options(self.settings, orthologues=orthologues)
        if self.source != "cells":
            return open_cells(path, bundle, options, named=named)
        asked = read_json(
            path, DescribeRequest, bytes_max=REQUEST_BYTES_MAX, error=JobError, hint=HINT
        )
        counts = [cell.counts for cell in asked.cells]
        names = [str(n) if cell.id is None else cell.id for n, cell in enumerate(asked.cells)]
        return open_cells(CountMaps.of(counts, names), bundle, options, named=named)
