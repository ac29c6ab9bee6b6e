"""Where cells lie in a picture: principal components of vectors, and places for numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_SAMPLE = 20_000  # cells that the axes are computed from
_BLOCK = 16_384
_ROUNDS = 60
FEW = 5  # cells of a group whose number stands beside them
_CLEAR = 0.75  # of the distance of two numbers: how far a number keeps from such cells


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

    The number of a group of up to 5 cells stands beside them, and no number lies on such cells:
    it would hide all that there is of the group.

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
    few = np.zeros((0, 2))  # cells that nothing may lie on
    for group in range(groups):
        here = places[seen & (codes == group)]
        if len(here):
            at[group] = _densest(here)
            if len(here) <= FEW:
                few = np.concatenate([few, here])
    for group in range(groups):
        if (few == at[group]).all(axis=1).any():
            at[group] = _beside(at[group], few, places[seen], _CLEAR * least)
    drawn = np.flatnonzero(np.isfinite(at).all(axis=1))
    for _ in range(_ROUNDS):
        apart = at[drawn][:, None] - at[drawn][None]
        distance = np.hypot(apart[..., 0], apart[..., 1])
        np.fill_diagonal(distance, np.inf)
        from_few = at[drawn][:, None] - few[None]
        gap = np.hypot(from_few[..., 0], from_few[..., 1])
        covers = gap < _CLEAR * least * (1 - 1e-6)
        if not (distance < least).any() and not covers.any():
            break
        # Two numbers at one place part along the diagonal, by their order.
        same = distance < 1e-9 * max(least, 1e-300)
        order = np.sign(drawn[:, None] - drawn[None])
        apart = np.where(same[..., None], order[..., None] * least, apart)
        length = np.where(same, least, distance)
        push = np.where(distance < least, (least - np.minimum(distance, least)) / 2, 0)
        moved = (apart / length[..., None] * push[..., None]).sum(axis=1)
        if len(few):
            off = np.where(covers, _CLEAR * least - gap, 0)
            away = from_few / np.maximum(gap, 1e-300)[..., None]
            moved += (away * off[..., None]).sum(axis=1)
        at[drawn] += moved
    return at


def _beside(place: FloatArray, few: FloatArray, places: FloatArray, distance: float) -> FloatArray:
    """Of the places around a cell, inside the picture, the one farthest from few and all cells."""
    angles = np.arange(16) / 16 * 2 * np.pi
    around = place + distance * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inside = ((around >= places.min(axis=0)) & (around <= places.max(axis=0))).all(axis=1)
    if inside.any():
        around = around[inside]
    some = places[:: max(1, len(places) // _SAMPLE)]
    from_few = np.linalg.norm(around[:, None] - few[None], axis=2).min(axis=1)
    nearest = np.array([np.linalg.norm(some - one, axis=1).min() for one in around])
    clear = from_few >= distance * (1 - 1e-6)
    found: FloatArray = around[np.argmax(np.where(clear, nearest, from_few - distance))]
    return found


def _densest(places: FloatArray) -> FloatArray:
    """The cell nearest to the median: a group of two islands has its number on one of them."""
    middle = np.median(places, axis=0)
    nearest = np.argmin(((places - middle) ** 2).sum(axis=1))
    found: FloatArray = places[nearest]
    return found
