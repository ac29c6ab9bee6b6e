"""Embeddings of many cells as their principal components, in two passes and bounded memory.

One decision: distances are taken among the first 50 components, as in scanpy. So 200,000 cells take
40 MB, however wide the encoder is, and the embeddings stay where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

COMPONENTS = 50
BLOCK = 4096  # cells that are worked on at once
Float32 = NDArray[np.float32]

# Given anew for each pass: the embedding of each cell, None where it has none.
ReadEmbeddings = Callable[[], Iterable[Float32 | None]]


def principal_components(embeddings: ReadEmbeddings, cells: int) -> Float32:
    """The first principal components of the cells' embeddings.

    Args:
        embeddings: [H] each, `cells` of them.
        cells: Their number.

    Returns:
        [cells, min(H, 50)] float32; NaN for a cell without an embedding. [cells, 0] where no
        cell has one.
    """
    count = 0
    shift = total = products = np.zeros(0)
    for _, block in _blocks(embeddings()):
        if not count:
            width = block.shape[1]
            shift = block.mean(axis=0)  # sums of squares far from zero lose their digits
            total, products = np.zeros(width), np.zeros((width, width))
        centred = block - shift
        count += len(block)
        total += centred.sum(axis=0)
        products += centred.T @ centred
    if not count:
        return np.zeros((cells, 0), np.float32)
    mean = total / count
    _, axes = np.linalg.eigh(products / count - np.outer(mean, mean))  # the largest come last
    axes = axes[:, ::-1][:, :COMPONENTS]
    result = np.full((cells, axes.shape[1]), np.nan, np.float32)
    for places, block in _blocks(embeddings()):
        result[places] = (block - (shift + mean)) @ axes
    return result


def _blocks(
    embeddings: Iterable[Float32 | None],
) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
    """Places and embeddings [n, H] of some cells at a time, those that have one."""
    places: list[int] = []
    rows: list[Float32] = []
    for place, embedding in enumerate(embeddings):
        if embedding is None or not np.isfinite(embedding).all():
            continue
        places.append(place)
        rows.append(embedding)
        if len(rows) == BLOCK:
            yield places, np.asarray(rows, np.float64)
            places, rows = [], []
    if rows:
        yield places, np.asarray(rows, np.float64)
