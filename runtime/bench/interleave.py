"""Timing of contestants in turns, and the figures made of it.

One decision: all contestants run in every round, and a ratio is the median of the rounds' ratios.
Other work slows a shared machine from minute to minute: times of different minutes do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = dict[str, list[float]]  # seconds of each contestant's runs
# Elapsed seconds, and processor seconds of all threads, of each contestant's runs.
BothTimes = dict[str, list[tuple[float, float]]]
# Idle threads of a library spin for a while, waiting for more work. That would slow the next run.
PAUSE = 0.02


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Seconds of many runs: median, 90th percentile, minimum, and how many runs."""

    p50: float
    p90: float
    least: float
    runs: int


def spread(seconds: Sequence[float]) -> Spread:
    """Summarise seconds."""
    p50, p90 = np.percentile(seconds, (50, 90)).tolist()
    return Spread(p50=p50, p90=p90, least=min(seconds), runs=len(seconds))


def interleave(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 1
) -> Times:
    """Run all contestants in turns, every other round in the reverse order.

    Args:
        contestants: The runs, by name.
        rounds: Timed runs of each.
        warm_up: Runs of each before those.
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
    """Seconds of one run, after a pause of `PAUSE`."""
    sleep(PAUSE)
    since = perf_counter()
    run()
    return perf_counter() - since


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return float(np.median(np.asarray(numerator) / np.asarray(denominator)))


def both_seconds_of(run: Callable[[], Any]) -> tuple[float, float]:
    """Elapsed seconds of one run, and processor seconds of all threads."""
    since, processor_since = perf_counter(), process_time()
    run()
    return perf_counter() - since, process_time() - processor_since


def both_median_ratios(
    numerator: Sequence[tuple[float, float]], denominator: NDArray[np.float64]
) -> tuple[float, float]:
    """Medians of the rounds' ratios, of elapsed and of processor seconds [rounds, 2]."""
    # Processor time is counted in steps: a short run may have none.
    elapsed, processor = np.median(np.array(numerator) / np.maximum(denominator, 1e-9), axis=0)
    return float(elapsed), float(processor)
