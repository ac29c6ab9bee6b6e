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
from c2t.runtime.engine_protocol import Float32
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
    texts: list[str | None] = []
    for places in groups:
        vectors = list(_cell_vectors(describer, _tokens(reader, _spread(places))))
        written = describer.write(mean_vectors(vectors)) if vectors else None
        texts.append(written)
        advance(1)
    return texts


def _spread(places: Sequence[int]) -> list[int]:
    """At most `CELLS_OF_MEAN` of some places, spread evenly."""
    step = max(1.0, len(places) / CELLS_OF_MEAN)
    return [places[int(number * step)] for number in range(min(len(places), CELLS_OF_MEAN))]


def _tokens(reader: CellReader, places: Sequence[int]) -> Iterator[GeneTokenArray]:
    """Gene tokens of the cells at some places that have any."""
    wanted = np.asarray(places)
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > GAP) + 1):
        first, stop = int(run[0]), int(run[-1]) + 1
        (chunk,) = reader.chunks(first, stop, chunk_cells=stop - first)
        for place in (run - first).tolist():
            if chunk.errors[place] is None:
                yield chunk.tokens[place]


def _cell_vectors(describer: Describer, cells: Iterator[GeneTokenArray]) -> Iterator[Float32]:
    """Cell vectors [K, D] of cells; one that the encoder does not take is left out."""
    limits, encoder = describer.limits, describer.engines.encoder
    usable = [tokens for tokens in cells if not check_tokens(tokens, limits)]
    for batch in equal_lengths(usable, describer.options.batch_size):
        tokens = np.stack([usable[index] for index in batch]).astype(np.int32, copy=False)
        try:
            with describer.engines.exclusive():
                vectors = encoder.encode(tokens)
        except C2TError:
            continue
        yield from (of_cell for of_cell in vectors if np.isfinite(of_cell).all())
