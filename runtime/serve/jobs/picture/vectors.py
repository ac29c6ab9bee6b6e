"""A short vector of each cell, kept while a job runs, from which its place in a plane is computed.

A cell's embedding has thousands of numbers. One decision: it is projected at random to 64 of them,
which keeps most distances to a fifth or so (Johnson and Lindenstrauss). So a million cells take
256 MB of disk and no memory. The signs are raw bits of the generator: unlike what it makes of them,
these are the same in every version of NumPy, so that a resumed job goes on in the same space.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.portable.open_flags import BINARY

WIDTH = 64
SEED = 20240731
BLOCK = 65_536  # rows that are read at once
FloatArray = NDArray[np.float32]


def projection(width: int) -> FloatArray | None:
    """The matrix [H, 64] that embeddings are multiplied by; None: they are short enough.

    Signs, scaled so that lengths stay (Achlioptas, 2003).
    """
    if width <= WIDTH:
        return None
    words = np.random.PCG64(SEED).random_raw(width * WIDTH // 64).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8)).reshape(width, WIDTH)
    matrix: FloatArray = (bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(WIDTH))
    return matrix


class VectorFile:
    """Writes the short vectors of a job's cells, one after another.

    Args:
        path: The file, float32 [cells, k]; k follows from the embeddings' length.
        width: H, their length.
        done: Cells that have results. What an earlier run wrote beyond them is cut off; what it
            did not get onto the disk before a power cut is NaN.
    """

    def __init__(self, path: Path, width: int, *, done: int) -> None:
        self._width = min(width, WIDTH)
        self._projection = projection(width)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o600)
        self._stream = os.fdopen(handle, "r+b", buffering=0)
        row_bytes = 4 * self._width
        whole = min(os.fstat(handle).st_size // row_bytes, done)
        self._stream.truncate(whole * row_bytes)
        self._stream.seek(0, os.SEEK_END)
        for _ in range(whole, done):
            self.append(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def append(self, embedding: FloatArray | None) -> None:
        """Add the next cell.

        Args:
            embedding: [H]; None for a cell that the encoder did not take.
        """
        if embedding is None:
            vector = np.full(self._width, np.nan, "<f4")
        else:
            matrix = self._projection
            vector = np.asarray(embedding if matrix is None else embedding @ matrix, "<f4")
        self._stream.write(vector.tobytes())

    def sync(self) -> None:
        """Have it on the disk."""
        os.fsync(self._stream.fileno())


def principal_places(path: Path, width: int, cells: int) -> tuple[FloatArray, FloatArray]:
    """The first two principal components of the cells' vectors.

    Args:
        path: Written by `VectorFile`.
        width: H, the embeddings' length.
        cells: How many to take.

    Returns:
        x, y: [cells] float32 each; NaN for cells without a vector.
    """
    width = min(width, WIDTH)
    vectors = np.memmap(path, "<f4", "r", shape=(cells, width)) if cells else np.zeros((0, width))
    blocks = range(0, cells, BLOCK)
    count, total, products = 0, np.zeros(width), np.zeros((width, width))
    shift: NDArray[np.float64] | None = None  # sums of squares far from zero lose their digits
    for start in blocks:
        block = np.asarray(vectors[start : start + BLOCK], np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        if not len(block):
            continue
        shift = block.mean(axis=0) if shift is None else shift
        block -= shift
        count, total, products = (
            count + len(block),
            total + block.sum(0),
            products + block.T @ block,
        )
    places = np.full((2, cells), np.nan, np.float32)
    if shift is None:
        return places[0], places[1]
    mean = total / count
    _, axes = np.linalg.eigh(products / count - np.outer(mean, mean))  # the largest come last
    axes = axes[:, ::-1][:, :2]
    # A component's sign is arbitrary: the same cells shall not be mirrored after a resumption.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    for start in blocks:
        block = np.asarray(vectors[start : start + BLOCK], np.float64) - (shift + mean)
        places[: axes.shape[1], start : start + BLOCK] = (block @ axes).T
    if axes.shape[1] < 2:  # embeddings of one number
        places[1] = np.where(np.isfinite(places[0]), 0, np.nan)
    return places[0], places[1]
