"""From a file of cells to texts, at any size: what `c2t bench BUNDLE --whole` measures.

One decision: cell after cell, every assumption about drafts and every peer writes the same number
of tokens in turn. A ratio compares the same cell in the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from c2t.runtime.bench.interleave import Times, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import load, peak_resident_bytes, record
from c2t.runtime.bench.stage_times import read_cells
from c2t.runtime.bench.whole.acceptance import ACCEPTANCES, load_acceptance
from c2t.runtime.bench.whole.floors import encoder_operations, prompt_operations, step_bytes
from c2t.runtime.bench.whole.runs import ScriptedRun, WholePeer
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.describer import DescribeOptions, engine_request
from c2t.runtime.engines.choose import choose_engines
from c2t.runtime.system.errors import CellFileError
from c2t.runtime.system.timing import StageClock

STAGES = ("embed", "encoder", "projector", "prefill", "decode", "text")


@dataclass(frozen=True, kw_only=True)
class WholeOptions:
    """What is measured, and how often.

    Args:
        cells: An `.h5ad` file with genes of the bundle.
        limit: Cells that are described alone; eight times as many as a file.
        repeats: Rounds.
        acceptances: Of `ACCEPTANCES`; ratios compare peers with the last.
        describing: Threads, batch size and engine; texts are as long as the script says.
        peer_batch: Cells of a peer's batch, where a file is described.
    """

    cells: Path
    limit: int = 3
    repeats: int = 2
    acceptances: tuple[str, ...] = ACCEPTANCES
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    peer_batch: int = 1


def bench_whole(
    bundle: Bundle,
    options: WholeOptions,
    *,
    peers: Sequence[WholePeer] = (),
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure whole descriptions.

    Args:
        bundle: The bundle; its weights may be random.
        options: What, and how often.
        peers: Others with the same weights.
        report: Called with the name of each part before it is measured.

    Returns:
        A JSON document.

    Raises:
        CellFileError: The cells cannot be read, or there are none.
        EngineError: No engine works.
        C2TError: The vocabulary is too small for the texts.
    """
    threads = options.describing.threads
    document = record("whole", threads=threads, seed=0)
    document["bundle"] = {
        "name": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "bytes": bundle.bytes,
    }
    cells, _ = read_cells(bundle, options.cells, CellOptions(limit=options.limit))
    if not cells:
        problem = f"{options.cells} has no cell to measure with"
        raise CellFileError(problem, hint="name another file")
    document["genes_per_cell"] = float(np.median([len(cell) for cell in cells]))
    report("opening")
    since = perf_counter()
    clock = StageClock()
    chosen = choose_engines(
        bundle, options.describing.engine, engine_request(bundle, options.describing), clock
    )
    document["open_seconds"] = perf_counter() - since
    document["engine"] = chosen.engines.label

    def scripted(name: str, batch_size: int) -> ScriptedRun:
        return ScriptedRun(
            bundle, chosen.engines, load_acceptance(name), batch_size=batch_size, clock=clock
        )

    probe = SpeedProbe(threads)
    report(f"{len(cells)} cells one after another")
    alone = {name: scripted(name, 1) for name in options.acceptances}
    document["one cell"] = _one_by_one(bundle, cells, alone, peers, probe, options, report)
    report("a file of cells")
    name = options.acceptances[-1]
    together = scripted(name, options.describing.batch_size)
    document["file"] = _file(together, peers, cells, options) | {"acceptance": name}
    document["peak_resident_bytes_of_all"] = peak_resident_bytes()
    document["load_after"] = load()
    return document


def _one_by_one(
    bundle: Bundle,
    cells: Sequence[GeneTokenArray],
    ours: dict[str, ScriptedRun],
    peers: Sequence[WholePeer],
    probe: SpeedProbe,
    options: WholeOptions,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Seconds of each contestant, stages of ours, and their floors."""
    times: Times = {n: [] for n in (*map(_our_name, ours), *(peer.name for peer in peers))}
    reads, products = [], []
    stages: dict[str, Times] = {name: {stage: [] for stage in STAGES} for name in ours}
    counts: dict[str, dict[str, int]] = {name: {"tokens": 0, "steps": 0} for name in ours}
    for run in ours.values():
        run.cells(cells[:1])
    for number in range(options.repeats):
        for place, cell in enumerate(cells):
            report(f"round {number + 1} of {options.repeats}, cell {place + 1} of {len(cells)}")
            reads.append(_seconds(probe.read))
            products.append(_seconds(probe.multiply))
            length = 0
            for name, run in ours.items():
                before = dict(run.clock.seconds), dict(run.clock.counts)
                written = run.cells([cell])
                times[_our_name(name)].append(written.seconds)
                length = written.tokens[0]
                for stage, seconds in stages[name].items():
                    grown = run.clock.seconds.get(stage, 0.0) - before[0].get(stage, 0.0)
                    seconds.append(grown)
                for what in counts[name]:
                    grown = run.clock.counts.get(what, 0) - before[1].get(what, 0)
                    counts[name][what] += int(grown)
            for peer in peers:
                times[peer.name].append(_seconds(partial(peer.write, [cell], length)))
    last = _our_name(list(ours)[-1])
    return {
        "cells": len(cells),
        "rounds": options.repeats,
        "seconds": {name: asdict(spread(seconds)) for name, seconds in times.items()},
        "times_faster_than": {
            _our_name(name): {
                peer.name: median_ratio(times[peer.name], times[_our_name(name)]) for peer in peers
            }
            for name in ours
        },
        "compared": last,
        "stages": {
            name: {stage: float(np.median(seconds)) for stage, seconds in found.items()}
            for name, found in stages.items()
        },
        "tokens": {name: found["tokens"] for name, found in counts.items()},
        "tokens_per_step": {
            name: found["tokens"] / max(1, found["steps"]) for name, found in counts.items()
        },
        **_shares(bundle, cells, stages, counts, options, (reads, products), probe),
    }


def _shares(
    bundle: Bundle,
    cells: Sequence[GeneTokenArray],
    stages: dict[str, Times],
    counts: dict[str, dict[str, int]],
    options: WholeOptions,
    speeds: tuple[list[float], list[float]],
    probe: SpeedProbe,
) -> dict[str, Any]:
    """The machine's speeds, and what each stage reaches of them."""
    bandwidth = probe.bytes_per_second(float(np.median(speeds[0])))
    rate = probe.flops_per_second(float(np.median(speeds[1])))
    encoder = float(np.median([encoder_operations(bundle, len(cell)) for cell in cells])) / rate
    prompt = prompt_operations(bundle) / rate
    runs = len(cells) * options.repeats
    shares = {}
    for name, found in stages.items():
        seconds = {stage: float(np.median(values)) for stage, values in found.items()}
        # The prefill is the first run of a text, and reads the weights, too.
        steps = counts[name]["steps"] / runs - 1
        whole = seconds["encoder"] + seconds["projector"]
        shares[name] = {
            "encoder and projector, of float32 products": encoder / max(whole, 1e-9),
            "prefill, of float32 products": prompt / max(seconds["prefill"], 1e-9),
            "decode, of reading the weights once a step": steps
            * step_bytes(bundle)
            / bandwidth
            / max(seconds["decode"], 1e-9),
        }
    return {
        "read_bytes_per_second": bandwidth,
        "gemm_flops_per_second": rate,
        "share_of_floor": shares,
    }


def _file(
    ours: ScriptedRun,
    peers: Sequence[WholePeer],
    cells: Sequence[GeneTokenArray],
    options: WholeOptions,
) -> dict[str, Any]:
    """Cells a second of a file, and of peers over the first of its cells, in turns."""
    rates: Times = {name: [] for name in ("c2t", *(peer.name for peer in peers))}
    some = cells[: max(options.peer_batch, 1)]
    number = 0
    for _ in range(options.repeats):
        written = ours.file(options.cells, 8 * options.limit)
        number = len(written.tokens)
        rates["c2t"].append(number / written.seconds)
        length = round(float(np.mean(written.tokens)))
        for peer in peers:
            seconds = _seconds(partial(peer.write, some, length))
            rates[peer.name].append(len(some) / seconds)
    return {
        "cells": number,
        "batch_size": options.describing.batch_size,
        "peer_batch": len(some),
        "cells_per_second": {name: float(np.median(found)) for name, found in rates.items()},
        "times_faster_than": {
            peer.name: median_ratio(rates["c2t"], rates[peer.name]) for peer in peers
        },
    }


def _our_name(acceptance: str) -> str:
    return f"c2t, accepted: {acceptance}"


def _seconds(run: Callable[[], Any]) -> float:
    since = perf_counter()
    run()
    return perf_counter() - since
