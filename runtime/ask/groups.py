"""Which cells are asked about together: those of a value of `obs`, or of a cluster.

One decision: clusters are those that `c2t describe --group-by leiden` would find. The same
embedding, neighbours and seed are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.cell_vectors import check_tokens, equal_lengths
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.embedding import embedding_of
from c2t.runtime.groups.labels import GroupLabels
from c2t.runtime.groups.leiden import leiden_groups
from c2t.runtime.groups.options import RESOLUTION
from c2t.runtime.output.grouping import Grouping
from c2t.runtime.system.errors import C2TError

Float32 = NDArray[np.float32]


def group_labels(
    grouping: Grouping,
    describer: Describer,
    reader: CellReader,
    *,
    bundle: Bundle,
    advance: Callable[[int], None] = lambda amount: None,
) -> GroupLabels:
    """The groups of a file's cells.

    Args:
        grouping: Of `prepare_grouping`.
        describer: Has the encoder that clusters are computed with.
        reader: Reads the cells.
        bundle: The describer's.
        advance: Told of cells that are embedded.

    Raises:
        BundleError: Clusters need an embedding, and the bundle makes none.
        C2TError: A library that clusters need is not installed.
    """
    if grouping.given is not None:
        return grouping.given
    size = bundle.manifest.gene_input.hidden_size
    embeddings = np.full((reader.n_cells, size), np.nan, np.float32)
    for place, embedding in _embeddings(describer, bundle, reader, advance):
        embeddings[place] = embedding
    resolution = grouping.options.resolution
    return leiden_groups(
        lambda: iter(embeddings),
        reader.n_cells,
        resolution=RESOLUTION if resolution is None else resolution,
    )


def places_of(labels: GroupLabels) -> list[tuple[str, list[int]]]:
    """Name of each group, and the places of its cells, increasing."""
    order = np.argsort(labels.codes, kind="stable")
    ends = np.searchsorted(labels.codes[order], np.arange(len(labels.names) + 1))
    return [
        (name, order[first:end].tolist())
        for name, (first, end) in zip(labels.names, pairwise(ends.tolist()), strict=True)
    ]


def _embeddings(
    describer: Describer, bundle: Bundle, reader: CellReader, advance: Callable[[int], None]
) -> Iterator[tuple[int, Float32]]:
    """Embeddings of the cells that have one, with their places."""
    engines, limits = describer.engines, describer.limits
    spec = bundle.manifest.gene_input
    for chunk in reader.chunks():
        good = [
            place
            for place, tokens in enumerate(chunk.tokens)
            if chunk.errors[place] is None and not check_tokens(tokens, limits)
        ]
        for batch in equal_lengths(
            [chunk.tokens[place] for place in good], describer.options.batch_size
        ):
            places = [good[index] for index in batch]
            tokens = np.stack([chunk.tokens[place] for place in places]).astype(np.int32)
            try:
                with engines.exclusive():
                    _, hidden = engines.encoder.encode_with_hidden(tokens)
            except C2TError:
                continue  # no embedding, no cluster
            for place, of_cell in zip(places, hidden, strict=True):
                yield chunk.first + place, embedding_of(chunk.tokens[place], of_cell, spec)
        advance(len(chunk))
