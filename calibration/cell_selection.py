"""Which cells to calibrate on, and which to hold out for the gate: disjoint, chosen by a seed.

One decision: calibration cells are chosen for coverage, not frequency. A rare kind of cell that
calibration never saw is the one whose activations are clipped. With a column of labels, the labels
take turns. Without one, cells are spread over the encoder's output: each next cell is the farthest
from those chosen. The gate's cells are a plain random sample, because its limits must hold for
cells as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.errors import CalibrationError

# With fewer, ranges depend on chance, and a share of the gate's cells means nothing.
FEWEST_CELLS = 4
POOL = 4  # random cells that are embedded for each cell to choose

Embed = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class CellSelection:
    """Positions among the reader's cells, ascending.

    Args:
        calibration: Cells to calibrate on.
        gate: Cells held out for the gate.
        method: How the calibration cells were chosen, in words.
        reduced: Says that the file has too few cells for what was asked; None if it has enough.
    """

    calibration: tuple[int, ...]
    gate: tuple[int, ...]
    method: str
    reduced: str | None


def check_cell_count(cells: int) -> None:
    """Refuse a file with too few cells for a calibration and a gate.

    Raises:
        CalibrationError: Fewer than twice `FEWEST_CELLS`.
    """
    if cells < 2 * FEWEST_CELLS:
        problem = f"{cells} cells are too few: some calibrate, others are held out to judge by"
        raise CalibrationError(problem, hint=f"give at least {2 * FEWEST_CELLS}, better 500")


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
        cells: How many there are, at positions 0 to cells - 1.
        calibration: How many to calibrate on.
        gate: How many to hold out.
        seed: Seed of all choices.
        labels: [cells] labels to cover.
        embed: Gives vectors [n, H] for n positions; used where there are no labels.

    Raises:
        CalibrationError: Too few cells for a calibration and a gate.
    """
    check_cell_count(cells)
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
        method = f"spread over {len(pool):,} random cells, as the model sees them"
    else:
        chosen, method = rest[:calibration], "random"
    return CellSelection(
        calibration=tuple(sorted(chosen.tolist())),
        gate=tuple(sorted(held_out.tolist())),
        method=method,
        reduced=reduced,
    )


def _in_turn(positions: NDArray[np.int64], labels: Sequence[str], count: int) -> NDArray[np.int64]:
    """The first `count` positions when labels take turns; `positions` are in random order."""
    turns: dict[str, int] = {}
    ranked = []
    for place, position in enumerate(positions.tolist()):
        turn = turns.get(labels[position], 0)
        turns[labels[position]] = turn + 1
        ranked.append((turn, place, position))
    return np.array([position for _, _, position in sorted(ranked)[:count]], np.int64)


def _farthest(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of `count` vectors: first the one nearest the mean, then always the farthest."""
    centred = vectors - vectors.mean(axis=0)
    nearest = int(np.square(centred).sum(axis=1).argmin())
    chosen = [nearest]
    distance = np.square(vectors - vectors[nearest]).sum(axis=1)
    distance[nearest] = -1.0
    while len(chosen) < count:
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.square(vectors - vectors[farthest]).sum(axis=1))
        distance[farthest] = -1.0  # never chosen again, even among equal vectors
    return np.array(chosen, np.int64)
