"""Seconds of each stage for a cell that is described alone: median and 90th percentile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from c2t.runtime.bench.contest import OurTexts
from c2t.runtime.bench.interleave import Times, spread
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells

ENGINE_STAGES = ("embed", "encoder", "projector", "prefill", "decode", "text")
REPEATS = 5  # of reading, which is quick


def read_cells(
    bundle: Bundle, path: Path, options: CellOptions
) -> tuple[list[GeneTokenArray], Times]:
    """Read and encode cells.

    Returns:
        Gene tokens of the cells without an error, and seconds a cell of the stages read and encode.

    Raises:
        CellFileError: The file cannot be read as counts over known genes.
    """
    times: Times = {"read": [], "encode": []}
    tokens: list[GeneTokenArray] = []
    with open_cells(path, bundle, options) as reader:
        count = max(1, reader.n_cells)
        for _ in range(REPEATS):
            since = perf_counter()
            for _ in reader.rows(0, reader.n_cells):
                pass
            read = perf_counter() - since
            since = perf_counter()
            chunks = list(reader.chunks())
            both = perf_counter() - since
            times["read"].append(read / count)
            times["encode"].append(max(0.0, both - read) / count)
            tokens = [
                cell
                for chunk in chunks
                for cell, error in zip(chunk.tokens, chunk.errors, strict=True)
                if error is None
            ]
    return tokens, times


def stage_times(
    ours: OurTexts, cells: Sequence[GeneTokenArray], *, beams: int, reading: Times | None = None
) -> dict[str, Any]:
    """Describe cell after cell, and read the clock after each.

    Args:
        ours: This package.
        cells: Gene tokens of each cell.
        beams: 1 is greedy search.
        reading: Seconds of other stages, for the same table.

    Returns:
        seconds of each stage (p50, p90, least, runs), shares of the whole, tokens and steps.
    """
    clock = ours.clock
    times: Times = {stage: [] for stage in ENGINE_STAGES}
    whole: list[float] = []
    ours.describe(cells[:1], beams)
    counts = dict(clock.counts)
    for cell in cells:
        before = dict(clock.seconds)
        since = perf_counter()
        ours.describe([cell], beams)
        whole.append(perf_counter() - since)
        for stage, seconds in times.items():
            seconds.append(clock.seconds.get(stage, 0.0) - before.get(stage, 0.0))
    grown = {name: clock.counts[name] - counts.get(name, 0) for name in clock.counts}
    written = sum(times["decode"]) + sum(times["prefill"])
    return {
        "seconds": {n: asdict(spread(t)) for n, t in {**(reading or {}), **times}.items()},
        "whole": asdict(spread(whole)),
        "share": {name: sum(seconds) / sum(whole) for name, seconds in times.items()},
        "tokens": grown.get("tokens", 0),
        "steps": grown.get("steps", 0),
        "tokens_per_step": grown.get("tokens", 0) / max(1, grown.get("steps", 0)),
        "tokens_per_second": grown.get("tokens", 0) / written,
    }
