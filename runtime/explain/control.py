"""What leaving out any gene of a rank does: what it does to the words beside the gene itself.

One decision: every gene that is left out is a control of its neighbours. The shift at a rank is a
median over them, so that the few that are evidence themselves do not count; random genes, evenly
spread, are always among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

REACH = 4  # genes on each side
REACH_COMPLETE = 15
NORMAL_MAD = 1.4826  # standard deviations of a normal distribution in a median deviation
# An engine rounds in float32: log probabilities differ by about so much with the batch.
ENGINE_NOISE = 2e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class Control:
    """What was measured on controls.

    Args:
        shift: What leaving out a gene of each rank moves, [genes], in log probability.
        noise: Standard deviation of the controls around it, robustly.
    """

    shift: Float64
    noise: float


def make_control(places: Indices, effects: Float64, genes: int) -> Control:
    """The shift over all ranks.

    Args:
        places: Places of the controls, ascending, [C].
        effects: Their effects [C].
        genes: How many places there are.
    """
    complete = len(places) == genes
    widest = REACH_COMPLETE if complete else REACH
    windows = []
    for index in range(len(places)):  # narrower towards the ends, so that little is one-sided
        reach = min(widest, max(REACH, min(index, len(places) - 1 - index)))
        windows.append(slice(max(0, index - reach), index + reach + 1))
    # A median stands at the median place: genes are denser on one side of a group that moved.
    middle = [float(np.median(places[window])) for window in windows]
    medians = [float(np.median(effects[window])) for window in windows]
    shift = np.interp(np.arange(genes), middle, medians)
    noise = NORMAL_MAD * float(np.median(np.abs(effects - shift[places])))
    return Control(shift=shift, noise=max(noise, ENGINE_NOISE))


def spread_places(genes: int, count: int, random: np.random.Generator) -> Indices:
    """Random places, one in each of `count` equally long stretches, ascending."""
    ends = np.linspace(0, genes, count + 1).astype(np.int64)
    return random.integers(ends[:-1], ends[1:])
