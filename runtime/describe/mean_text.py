"""One text for a group of cells, written from their mean (`c2t.runtime.describe.group_mean`).

One decision: a group is read as one cell is, and written about once. On real labelled cells such a
text names the cell type that most of the group's own texts name, in 81 of 81 groups:
`benchmarks/results/groups.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import TokenLimits, check_tokens
from c2t.runtime.describe.describer import Describer

# Cells of a group that its mean is made of, spread evenly: more hardly change a mean.
CELLS_OF_MEAN = 64
# Up to so many cells between two that are wanted are read too: cheaper than another request.
GAP = 32


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
        tokens = group_tokens(reader, places, limits)
        mean = describer.group_mean
        found = mean.encoded(describer.engines, tokens, describer.options.batch_size)
        cells = [each for _, each in found if not isinstance(each, str)]
        written = None
        if cells:
            written = describer.write(mean.of(cells), name=f"group {number}")
        texts.append(written)
        advance(1)
    return texts


def group_tokens(
    reader: CellReader, places: Sequence[int], limits: TokenLimits
) -> list[GeneTokenArray]:
    """Gene tokens of the cells that a group's mean is made of.

    Cells that cannot be encoded are left out. Where that leaves none, the group's other cells are
    tried, as many at a time.

    Args:
        reader: Reads them.
        places: Of the group's cells, increasing.
        limits: What the encoder takes.
    """
    for chosen in _rounds(places):
        tokens = [each for each in _read(reader, chosen) if not check_tokens(each, limits)]
        if tokens:
            return tokens
    return []


def _rounds(places: Sequence[int]) -> Iterator[list[int]]:
    """At most `CELLS_OF_MEAN` of some places, spread evenly; then of those that are left."""
    rest = list(places)
    while rest:
        step = max(1.0, len(rest) / CELLS_OF_MEAN)
        chosen = {int(number * step) for number in range(min(len(rest), CELLS_OF_MEAN))}
        yield [rest[number] for number in sorted(chosen)]
        rest = [place for number, place in enumerate(rest) if number not in chosen]


def _read(reader: CellReader, places: Sequence[int]) -> Iterator[GeneTokenArray]:
    """Gene tokens of the cells at some places, of those that can be read."""
    wanted = np.asarray(places)
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > GAP) + 1):
        first, stop = int(run[0]), int(run[-1]) + 1
        (chunk,) = reader.chunks(first, stop, chunk_cells=stop - first)
        for place in (run - first).tolist():
            if chunk.errors[place] is None:
                yield chunk.tokens[place]
