"""Cells described by several contestants in turns: one at a time, and many together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from c2t.runtime.bench.interleave import Times, median_ratio, seconds_of, spread
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import EncodedCells, GeneTokenArray
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

Texts = list[list[int]]  # text tokens of each cell
WHOLE_FILE = 1 << 30  # a batch size larger than any file


class TextPeer(Protocol):
    """Describes cells from their gene tokens, with the bundle's weights."""

    @property
    def name(self) -> str:
        """Its name in a report."""
        ...

    def describe(self, cells: Sequence[GeneTokenArray], beams: int) -> Texts:
        """Text tokens of cells that are described as one batch, with the end token."""
        ...


class OurTexts:
    """This package as a contestant."""

    def __init__(self, bundle: Bundle, options: DescribeOptions, name: str = "c2t") -> None:
        self.name = name
        self.describer = Describer(bundle, options)

    def describe(self, cells: Sequence[GeneTokenArray], beams: int) -> Texts:
        """Text tokens of the cells.

        Raises:
            EngineError: A cell could not be described, or it was opened with other beams.
        """
        if beams != self.describer.generation.num_beams:
            problem = f"{self.name} has {self.describer.generation.num_beams} beams, not {beams}"
            raise EngineError(problem, hint="open the contestant again with these beams")
        descriptions = list(self.describer.describe([EncodedCells.of_tokens(cells)]))
        errors = [description.error for description in descriptions if description.error]
        if errors:
            problem = f"{self.name}: {errors[0]}"
            raise EngineError(problem, hint="run `c2t verify` on the bundle")
        return [list(description.tokens) for description in descriptions]

    @property
    def clock(self) -> StageClock:
        """Times of its stages so far."""
        return self.describer.clock


class BatchedPeer:
    """A peer with a fixed batch size in its name, so that its batch sizes compete too."""

    def __init__(self, peer: TextPeer, batch: int) -> None:
        self.name = f"{peer.name}, batches of {batch}"
        self.describe = peer.describe


def latency(
    contestants: Sequence[TextPeer], cells: Sequence[GeneTokenArray], *, beams: int, repeats: int
) -> dict[str, Any]:
    """Describe cell after cell. A ratio compares the same cell in the same round.

    Args:
        contestants: Times and texts of the others are compared with those of the first.
        cells: Gene tokens of each cell.
        beams: 1 is greedy search.
        repeats: Rounds over the cells.
    """
    times: Times = {c.name: [] for c in contestants}
    texts: dict[str, Texts] = {}
    for contestant in contestants:
        contestant.describe(cells[:1], beams)
    for number in range(repeats):
        written: dict[str, Texts] = {c.name: [] for c in contestants}
        for place, cell in enumerate(cells):
            in_turn = contestants if (number + place) % 2 == 0 else contestants[::-1]
            for contestant in in_turn:
                run = _Run(contestant, [cell], beams)
                times[contestant.name].append(seconds_of(run))
                written[contestant.name] += run.texts
        texts = texts or written
    return {
        "cells": len(cells),
        "beams": beams,
        "seconds": {name: asdict(spread(seconds)) for name, seconds in times.items()},
        **_compared(times, texts),
    }


def throughput(
    contestants: Sequence[tuple[TextPeer, int]],
    cells: Sequence[GeneTokenArray],
    *,
    repeats: int,
    beams: int = 1,
) -> dict[str, Any]:
    """Describe all cells in batches.

    Args:
        contestants: Each with its batch size. This package is given all cells, and makes its
            batches itself. The cells are sorted by length, so that the others pad little.
        cells: Gene tokens of each cell.
        repeats: Rounds.
        beams: 1 is greedy search.
    """
    order = sorted(range(len(cells)), key=lambda i: len(cells[i]))
    ordered = [cells[i] for i in order]
    times: Times = {c.name: [] for c, _ in contestants}
    texts: dict[str, Texts] = {}
    for number in range(repeats):
        for contestant, batch in contestants if number % 2 == 0 else contestants[::-1]:
            runs = [
                _Run(contestant, ordered[i : i + batch], beams)
                for i in range(0, len(ordered), batch)
            ]
            seconds = sum(seconds_of(run) for run in runs)
            times[contestant.name].append(seconds)
            texts[contestant.name] = [text for run in runs for text in run.texts]
    compared = _compared(times, texts)
    peers = {n: r for n, r in compared["times_faster_than"].items() if not n.startswith("c2t")}
    return {
        "cells": len(cells),
        "cells_per_second": {n: len(cells) / float(np.median(t)) for n, t in times.items()},
        "tokens_per_second": {
            n: sum(map(len, texts[n])) / float(np.median(t)) for n, t in times.items()
        },
        **compared,
        "times_faster_than_the_best_peer": min(peers.values(), default=None),
    }


class _Run:
    """One run that keeps its result."""

    def __init__(self, contestant: TextPeer, cells: Sequence[GeneTokenArray], beams: int) -> None:
        self._contestant, self._cells, self._beams = contestant, cells, beams
        self.texts: Texts = []

    def __call__(self) -> None:
        self.texts = self._contestant.describe(self._cells, self._beams)


def _compared(times: Times, texts: dict[str, Texts]) -> dict[str, Any]:
    """Ratios of times, and how many texts are equal, of each contestant against the first."""
    first, *others = times
    return {
        "times_faster_than": {name: median_ratio(times[name], times[first]) for name in others},
        "same_texts": {
            name: (
                sum(a == b for a, b in zip(texts[name], texts[first], strict=True)),
                len(texts[first]),
            )
            for name in others
        },
    }
