"""The cell vectors of a group of cells.

One decision: what is averaged is what the model was trained to have averaged. Where the projector
leads through a joint space (`SEVERAL_CELLS`), that is the cells' places in it, and the projector's
own graph takes their mean. Else cell vectors are averaged rank by rank, over the cells that have
the rank, up to the median number of ranks: the mean is as long as a cell is, and its first rank is
the mean of first ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import SEVERAL_CELLS
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.describe.cell_vectors import equal_lengths
from c2t.runtime.engine_protocol import EngineOptions, Engines, Float32
from c2t.runtime.engines.cpu.projector_alone import ProjectorAlone
from c2t.runtime.system.errors import C2TError

NOT_FINITE = "the encoder's vectors are not finite"


@dataclass(frozen=True, eq=False)
class EncodedCell:
    """A cell behind the encoder.

    Args:
        vectors: Its cell vectors [K, D].
        row: Its row [1, H] that the projector has read; None where groups do not need it.
    """

    vectors: Float32
    row: Float32 | None = None


class GroupMean:
    """Makes the cell vectors of groups; threads may share it.

    Args:
        bundle: The bundle. Its projector is opened a second time, on the CPU, when the first group
            of several cells is made and the projector is one for them. Its weights stay mapped.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._by_rows = manifest.has_encoder and manifest.projector.kind in SEVERAL_CELLS
        self._bundle = bundle
        self._projector: ProjectorAlone | None = None
        self._opening = threading.Lock()

    def encoded(
        self, engines: Engines, cells: Sequence[GeneTokenArray], batch_size: int
    ) -> Iterator[tuple[int, EncodedCell | str]]:
        """Usable cells behind the encoder, in batches of equal length.

        Yields:
            Place of the cell, and the cell, or why it cannot be encoded.
        """
        for batch in equal_lengths(cells, batch_size):
            found = self._encoded(engines, [cells[index] for index in batch])
            yield from zip(batch, found, strict=True)

    def of(self, cells: Sequence[EncodedCell]) -> Float32:
        """The cell vectors [K, D] of a group of one or more cells.

        Raises:
            EngineError: The projector fails.
        """
        if len(cells) == 1:
            return cells[0].vectors
        if not self._by_rows:
            return mean_vectors([cell.vectors for cell in cells])
        with self._opening:
            if self._projector is None:
                path = self._bundle.file("projector.onnx")
                self._projector = ProjectorAlone(path, EngineOptions(prepack=False))
        rows = [cell.row for cell in cells if cell.row is not None]
        (vectors,) = self._projector.project(np.concatenate(rows)[None])
        result: Float32 = vectors
        return result

    def _encoded(self, engines: Engines, cells: list[GeneTokenArray]) -> list[EncodedCell | str]:
        """Cells of equal length; if they fail, one by one."""
        tokens = np.stack(cells).astype(np.int32, copy=False)
        rows: Float32 | None = None
        try:
            with engines.exclusive():
                if self._by_rows:
                    vectors, rows = engines.encoder.encode_with_hidden(tokens)
                else:
                    vectors = engines.encoder.encode(tokens)
        except C2TError as error:
            if len(cells) == 1:
                return [error.problem]
            return [each for cell in cells for each in self._encoded(engines, [cell])]
        return [  # copies: the encoder may use its memory again
            EncodedCell(of_cell.copy(), None if rows is None else rows[place].copy())
            if np.isfinite(of_cell).all()
            else NOT_FINITE
            for place, of_cell in enumerate(vectors)
        ]


def mean_vectors(cells: Sequence[Float32]) -> Float32:
    """The mean of cell vectors, rank by rank.

    Args:
        cells: [K, D] of each, at least one; K may differ.

    Returns:
        [median K, D] float32.
    """
    length = int(np.median([len(vectors) for vectors in cells]))
    total = np.zeros((length, cells[0].shape[1]))
    count = np.zeros((length, 1))
    for vectors in cells:
        total[: len(vectors)] += vectors[:length]
        count[: len(vectors)] += 1
    mean: Float32 = (total / count).astype(np.float32)
    return mean
