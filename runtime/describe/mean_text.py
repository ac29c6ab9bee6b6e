"""One text for a group of cells, written from the mean of their cell vectors.

One decision: vectors are averaged rank by rank, over the cells that have the rank, up to the median
number of ranks. So the mean is as long as a cell is, and its first rank is the mean of first ranks.
On real labelled cells such a text names the cell type that most of the group's own texts name, in
81 of 81 groups: `benchmarks/results/groups.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths
from c2t.runtime.describe.describer import Describer
from c2t.runtime.engine_protocol import Engines, Float32
from c2t.runtime.system.errors import C2TError

# Cells of a group that its mean is made of, spread evenly: more hardly change a mean.
CELLS_OF_MEAN = 64
# Up to so many cells between two that are wanted are read too: cheaper than another request.
GAP = 32


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


def write_mean_texts(
    describer: Describer,
    reader: CellReader,
    groups: Sequence[Sequence[int]],
    *,
    advance: Callable[[int], None] = lambda amount: None,
) -> list[str | None]:
    """A text for each group of cells.

    Args:
        describer: Writes them.
        reader: Reads the cells.
        groups: The places of each group's cells among the reader's, increasing.
        advance: Told of each group that is done.

    Returns:
        Texts in the order of the groups; None where no cell can be encoded, or the engine fails.
    """
    limits = describer.limits
    texts: list[str | None] = []
    for number, places in enumerate(groups):
        tokens = [each for each in group_tokens(reader, places) if not check_tokens(each, limits)]
        found = vectors_of(describer.engines, tokens, describer.options.batch_size)
        vectors = [each for _, each in found if not isinstance(each, str)]
        written = None
        if vectors:
            written = describer.write(mean_vectors(vectors), name=f"group {number}")
        texts.append(written)
        advance(1)
    return texts


def _spread(places: Sequence[int]) -> list[int]:
    """At most `CELLS_OF_MEAN` of some places, spread evenly."""
    step = max(1.0, len(places) / CELLS_OF_MEAN)
    return [places[int(number * step)] for number in range(min(len(places), CELLS_OF_MEAN))]


def group_tokens(reader: CellReader, places: Sequence[int]) -> Iterator[GeneTokenArray]:
    """Gene tokens of the cells that a group's mean is made of, as far as they have any.

    Args:
        reader: Reads them.
        places: Of the group's cells, increasing.
    """
    wanted = np.asarray(_spread(places))
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > GAP) + 1):
        first, stop = int(run[0]), int(run[-1]) + 1
        (chunk,) = reader.chunks(first, stop, chunk_cells=stop - first)
        for place in (run - first).tolist():
            if chunk.errors[place] is None:
                yield chunk.tokens[place]


def vectors_of(
    engines: Engines, cells: Sequence[GeneTokenArray], batch_size: int
) -> Iterator[tuple[int, Float32 | str]]:
    """Cell vectors [K, D] of usable cells, in batches of equal length.

    Yields:
        Place of the cell, and its vectors, or why there are none.
    """
    for batch in equal_lengths(cells, batch_size):
        yield from zip(batch, _encoded(engines, [cells[index] for index in batch]), strict=True)


def _encoded(engines: Engines, cells: list[GeneTokenArray]) -> list[Float32 | str]:
    """Cells of equal length; if they fail, one by one."""
    try:
        with engines.exclusive():
            vectors = engines.encoder.encode(np.stack(cells).astype(np.int32, copy=False))
    except C2TError as error:
        if len(cells) == 1:
            return [error.problem]
        return [each for cell in cells for each in _encoded(engines, [cell])]
    return [
        v.copy() if np.isfinite(v).all() else "the encoder's vectors are not finite"
        for v in vectors  # the encoder may use its memory again
    ]
