"""The columns of a job for the page: places, cell types, confidences, errors, the file's labels.

One pass over the journal fills arrays of a few bytes a cell, so a million cells take some tens of
megabytes while they are gathered.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.output.record import Record
from c2t.runtime.serve.jobs.picture.blob import NONE, Columns, read_blob, write_blob
from c2t.runtime.serve.jobs.picture.vectors import principal_places

FROM_FILE = "from_file"  # in the picture's folder: what the file of cells says
VECTORS = "vectors"  # in the picture's folder: short vectors of the cells
COMPONENTS = "first two principal components of the encoder's embedding"
# Codes are 16 bits long. A model that writes more names than this for cell types makes most of
# them up.
CELL_TYPES_MAX = 65_000
OTHER = "(other cell types)"
TEXT_MAX = 256  # characters of a cell type


def write_columns(
    target: Path, picture: Path, records: Iterable[Record], *, count: int, width: int
) -> None:
    """Write the file of columns, which appears when it is complete.

    Args:
        target: The file to write.
        picture: The picture's folder.
        records: The job's results.
        count: How many these are; the first ones of the job.
        width: H, the embeddings' length; 0 where the bundle makes none.

    Raises:
        OutputError: What was kept for the picture is damaged.
        OSError: The disk is full.
    """
    columns = _Results(count)
    for place, record in enumerate(records):
        columns.add(place, record)
    arrays, labels = columns.arrays()
    theirs = read_blob(picture / FROM_FILE)
    scatter = theirs.scatter
    if scatter is None and (picture / VECTORS).exists():
        x, y = principal_places(picture / VECTORS, width, count)
        arrays = {"x": x, "y": y, **arrays}
        scatter = COMPONENTS
    arrays = {**{name: array[:count] for name, array in theirs.arrays.items()}, **arrays}
    order = ("x", "y", *columns.names)
    arrays = {name: arrays[name] for name in (*order, *arrays) if name in arrays}
    blob = Columns(
        cells=count,
        arrays=arrays,
        categories={"cell_type": labels, **theirs.categories},
        scatter=scatter,
    )
    write_blob(target, blob)


class _Results:
    """Columns of what the model says."""

    names = ("cell_type", "confidence", "cell_type_confidence", "error")

    def __init__(self, count: int) -> None:
        self._cell_type = np.full(count, NONE, np.uint16)
        self._confidence = np.full(count, np.nan, np.float32)
        self._cell_type_confidence = np.full(count, np.nan, np.float32)
        self._error = np.zeros(count, np.uint8)
        self._codes: dict[str, int] = {}

    def add(self, place: int, record: Record) -> None:
        """Add one cell."""
        if record.error is not None or record.text is None:
            self._error[place] = 1
            return
        if record.confidence is not None:
            self._confidence[place] = record.confidence
        if record.cell_type_confidence is not None:
            self._cell_type_confidence[place] = record.cell_type_confidence
        if record.cell_type:
            self._cell_type[place] = self._code(record.cell_type[:TEXT_MAX])

    def arrays(self) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """The columns, and the cell types: the most frequent first."""
        counts = np.bincount(self._cell_type, minlength=NONE + 1)[: len(self._codes)]
        order = np.argsort(-counts, kind="stable")
        new_code = np.full(NONE + 1, NONE, np.uint16)
        new_code[order] = np.arange(len(order), dtype=np.uint16)
        labels = list(self._codes)
        columns = (
            new_code[self._cell_type],
            self._confidence,
            self._cell_type_confidence,
            self._error,
        )
        return dict(zip(self.names, columns, strict=True)), [labels[code] for code in order]

    def _code(self, name: str) -> int:
        if name not in self._codes and len(self._codes) >= CELL_TYPES_MAX:
            name = OTHER
        return self._codes.setdefault(name, len(self._codes))
