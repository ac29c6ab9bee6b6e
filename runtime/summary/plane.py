"""Where cells lie in a picture: principal components of vectors, and places for numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_SAMPLE = 20_000  # cells that the axes are computed from
_BLOCK = 16_384
_ROUNDS = 60


def principal_plane(read: Callable[[int, int], NDArray[np.floating]], cells: int) -> FloatArray:
    """The first two principal components of vectors.

    The axes are those of at most 20,000 cells, spread evenly.

    Args:
        read: Gives the vectors [stop - start, D] of the cells from `start` to `stop`.
        cells: How many there are.

    Returns:
        [cells, 2]; NaN for cells whose vector is not finite.
    """
    step = max(1, -(-cells // _SAMPLE))
    starts = range(0, cells, _BLOCK)
    parts = []
    for start in starts:
        block = np.asarray(read(start, min(start + _BLOCK, cells)), np.float64)
        block = block[-start % step :: step]
        parts.append(block[np.isfinite(block).all(axis=1)])
    sample = np.concatenate(parts) if parts else np.zeros((0, 0))
    places = np.full((cells, 2), np.nan)
    if not sample.size:
        return places
    mean = sample.mean(axis=0)
    sample = sample - mean
    _, axes = np.linalg.eigh(sample.T @ sample)  # the largest come last
    axes = axes[:, ::-1][:, :2]
    # A component's sign is arbitrary: the same cells shall always give the same picture.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    for start in starts:
        block = np.asarray(read(start, min(start + _BLOCK, cells)), np.float64) - mean
        places[start : start + len(block), : axes.shape[1]] = block @ axes
    if axes.shape[1] < 2:  # vectors of one number
        places[:, 1] = np.where(np.isfinite(places[:, 0]), 0, np.nan)
    return places


def number_places(places: FloatArray, codes: NDArray[np.int64], *, least: float) -> FloatArray:
    """Where the number of each group is written: at its median, moved apart where two would touch.

    Args:
        places: [cells, 2], NaN for cells that have none.
        codes: [cells] group of each cell, -1 for none.
        least: Distance that two numbers keep, in the units of `places`.

    Returns:
        [groups, 2]; NaN for a group without a place.
    """
    groups = int(codes.max(initial=-1)) + 1
    at = np.full((groups, 2), np.nan)
    seen = np.isfinite(places).all(axis=1)
    for group in range(groups):
        here = places[seen & (codes == group)]
        if len(here):
            at[group] = _densest(here)
    drawn = np.flatnonzero(np.isfinite(at).all(axis=1))
    for _ in range(_ROUNDS):
        apart = at[drawn][:, None] - at[drawn][None]
        distance = np.hypot(apart[..., 0], apart[..., 1])
        np.fill_diagonal(distance, np.inf)
        if not (distance < least).any():
            break
        # Two numbers at one place part along the diagonal, by their order.
        same = distance < 1e-9 * max(least, 1e-300)
        order = np.sign(drawn[:, None] - drawn[None])
        apart = np.where(same[..., None], order[..., None] * least, apart)
        length = np.where(same, least, distance)
        push = np.where(distance < least, (least - np.minimum(distance, least)) / 2, 0)
        at[drawn] += (apart / length[..., None] * push[..., None]).sum(axis=1)
    return at


def _densest(places: FloatArray) -> FloatArray:
    """The cell nearest to the median: a group of two islands has its number on one of them."""
    middle = np.median(places, axis=0)
    nearest = np.argmin(((places - middle) ** 2).sum(axis=1))
    found: FloatArray = places[nearest]
    return found
