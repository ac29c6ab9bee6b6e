"""Which cells to calibrate on, and which to keep for the gate: disjoint, chosen by a seed.

One decision: coverage counts, not frequency, because a rare kind of cell that calibration never saw
is the one whose activations are clipped. Labels are taken in turn where there is a column of them;
otherwise cells are spread over the encoder's own output, each next one farthest from those chosen.
The gate's cells are a plain random sample: what is promised is promised of cells as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import CalibrationError

# With fewer, ranges are chance and a share of the gate means nothing.
FEWEST_CELLS = 4
# Cells that are embedded to spread over, for each one that is chosen.
POOL = 4

Embed = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class CellSelection:
    """Positions of cells among those of the reader, ascending.

    Args:
        calibration: To calibrate on.
        gate: Held out for the gate.
        method: How the former were chosen, in words.
        reduced: What was asked for and could not be had; None if nothing.
    """

    calibration: tuple[int, ...]
    gate: tuple[int, ...]
    method: str
    reduced: str | None


def select_cells(
    cells: int,
    *,
    calibration: int,
    gate: int,
    seed: int,
    labels: Sequence[str] | None = None,
    embed: Embed | None = None,
) -> CellSelection:
    """Choose cells.

    Args:
        cells: How many there are; positions 0 ... cells - 1.
        calibration: How many to calibrate on.
        gate: How many to hold out.
        seed: Of all choices.
        labels: A label for each cell, to be covered.
        embed: Gives vectors [n, H] for positions, to be spread over where there are no labels.

    Raises:
        CalibrationError: Too few cells for a calibration and a gate.
    """
    if cells < 2 * FEWEST_CELLS:
        problem = f"{cells} cells are too few: some calibrate, others are held out to judge by"
        raise CalibrationError(problem, hint=f"give at least {2 * FEWEST_CELLS}, better 500")
    reduced = None
    wanted = calibration + gate
    if wanted > cells:
        calibration = max(FEWEST_CELLS, min(cells - FEWEST_CELLS, cells * calibration // wanted))
        gate = cells - calibration
        reduced = (
            f"{wanted:,} cells wanted, the file has {cells:,}: "
            f"{calibration:,} calibrate, {gate:,} are held out"
        )
    random = np.random.default_rng(seed)
    order = random.permutation(cells)
    held_out, rest = order[:gate], order[gate:]
    if labels is not None:
        chosen = _in_turn(rest, labels, calibration)
        method = f"{len(set(labels)):,} labels in turn"
    elif embed is not None and len(rest) > calibration:
        pool = np.sort(rest[: POOL * calibration])
        chosen = pool[_farthest(embed(pool.tolist()), calibration)]
        method = f"spread over the encoder's output of {len(pool):,} random cells"
    else:
        chosen, method = rest[:calibration], "random"
    return CellSelection(
        calibration=tuple(sorted(chosen.tolist())),
        gate=tuple(sorted(held_out.tolist())),
        method=method,
        reduced=reduced,
    )


def _in_turn(positions: NDArray[np.int64], labels: Sequence[str], count: int) -> NDArray[np.int64]:
    """Take cells of each label in turn until there are enough; `positions` are in random order."""
    turns: dict[str, int] = {}
    ranked = []
    for place, position in enumerate(positions.tolist()):
        turn = turns.get(labels[position], 0)
        turns[labels[position]] = turn + 1
        ranked.append((turn, place, position))
    return np.array([position for _, _, position in sorted(ranked)[:count]], np.int64)


def _farthest(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of `count` vectors: the one nearest the mean, then always the farthest from all."""
    centred = vectors - vectors.mean(axis=0)
    nearest = int(np.square(centred).sum(axis=1).argmin())
    chosen = [nearest]
    distance = np.square(vectors - vectors[nearest]).sum(axis=1)
    distance[nearest] = -1.0
    while len(chosen) < count:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.square(vectors - vectors[farthest]).sum(axis=1))
        distance[farthest] = -1.0  # not again, even among equal vectors
    return np.array(chosen, np.int64)
