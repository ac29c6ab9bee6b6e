"""Timing of contestants in turns, and the figures made of it.

One decision: contestants run one after another in every round, and a ratio is the median of the
rounds' ratios. On a machine that others use too, times taken one after the other say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np

Times = dict[str, list[float]]
# Threads of a library wait for more work by spinning for a while: they would slow the next one.
PAUSE = 0.02


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Seconds of many runs of the same kind."""

    p50: float
    p90: float
    least: float
    runs: int


def spread(seconds: Sequence[float]) -> Spread:
    """Median, 90th percentile and minimum."""
    p50, p90 = np.percentile(seconds, (50, 90)).tolist()
    return Spread(p50=p50, p90=p90, least=min(seconds), runs=len(seconds))


def interleave(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 1
) -> Times:
    """Run all contestants in turns, every other round in the reverse order.

    Args:
        contestants: What to run, by name.
        rounds: Timed runs of each.
        warm_up: Runs of each before that.

    Returns:
        Seconds of each contestant's runs, round by round.
    """
    for _ in range(warm_up):
        for run in contestants.values():
            run()
    times: Times = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            times[name].append(seconds_of(contestants[name]))
    return times


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds that one run takes, after a pause."""
    sleep(PAUSE)
    since = perf_counter()
    run()
    return perf_counter() - since


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return float(np.median(np.asarray(numerator) / np.asarray(denominator)))
