"""The whole benchmark of a bundle: what `c2t bench BUNDLE` measures, as one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.bench.contest import (
    WHOLE_FILE,
    BatchedPeer,
    OurTexts,
    TextPeer,
    latency,
    throughput,
)
from c2t.runtime.bench.decoder_steps import (
    DecoderBenchOptions,
    DecoderPeer,
    OurDecoder,
    bench_decoder,
)
from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.interleave import Times
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import load, peak_resident_bytes, record
from c2t.runtime.bench.stage_times import read_cells, stage_times
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.generation.phrase_table import PHRASES_NAME
from c2t.runtime.system.errors import CellFileError, TaskError

PEER_BATCHES = (1, 8, 32)


@dataclass(frozen=True, kw_only=True)
class BundleBenchOptions:
    """What is measured, and how often.

    Args:
        cells: An `.h5ad` file; None: the bundle's golden cells, without reading a file.
        limit: Cells that are described alone; eight times as many are described in batches.
        repeats: Rounds over the cells, and timed rounds of steps.
        describing: How cells are described.
        seed: Seed of all random data.
    """

    cells: Path | None = None
    limit: int = 8
    repeats: int = 3
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    seed: int = 0


def bench_bundle(
    bundle: Bundle,
    options: BundleBenchOptions,
    *,
    text_peers: Sequence[TextPeer] = (),
    decoder_peers: Sequence[DecoderPeer] = (),
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a bundle.

    Args:
        bundle: The bundle; its hashes may be unchecked.
        options: What, and how often.
        text_peers: Others that describe cells with the same weights.
        decoder_peers: Others that run the same decoder.
        report: Called with the name of each part before it is measured.

    Returns:
        A JSON document; ratios are medians of interleaved runs.

    Raises:
        CellFileError: The cells cannot be read, or there are none.
        EngineError: No engine works, or a decoder peer's logits differ.
    """
    check_measured(bundle)
    describing = options.describing
    document = record("bundle", threads=describing.threads, seed=options.seed)
    document["bundle"] = {
        "name": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "bytes": bundle.bytes,
        "sha256": bundle.digest,
    }
    cells, reading = _cells(bundle, options)
    document["genes_per_cell"] = float(np.median([len(cell) for cell in cells]))

    report("start and memory, in a fresh process")
    document["start"] = measure_fresh(
        bundle.path,
        cells[0].tolist(),
        threads=describing.threads,
        prepack=describing.prepack,
        max_new_tokens=describing.max_new_tokens,
        engine=describing.engine,
    )
    report("the machine's speed")
    probe = SpeedProbe(describing.threads)
    document["speed"] = probe.measure()

    ours = OurTexts(bundle, describing)
    document |= _bench_texts(bundle, ours, cells, reading, options, text_peers, report)
    document["engine"] = ours.describer.engines.label

    report("the decoder alone")
    engine = EngineOptions(threads=describing.threads, prepack=describing.prepack)
    document["decoder"] = bench_decoder(
        bundle,
        [OurDecoder(bundle, engine, engine=describing.engine)],
        decoder_peers,
        probe,
        DecoderBenchOptions(rounds=max(3, options.repeats), seed=options.seed),
    )
    document["peak_resident_bytes_of_all"] = peak_resident_bytes()
    document["load_after"] = load()
    return document


def check_measured(bundle: Bundle) -> None:
    """Refuse a bundle whose stages are others than those that are measured here.

    Raises:
        TaskError: It has no encoder, or no decoder.
    """
    manifest = bundle.manifest
    missing = [
        name
        for name, there in (("encoder", manifest.has_encoder), ("decoder", manifest.has_decoder))
        if not there
    ]
    if missing:
        problem = f"c2t bench measures encoder and decoder; {manifest.name!r} has no {missing[0]}"
        hint = "time `c2t describe --profile` with it, or another command"
        if not manifest.has_decoder:
            hint = "time `c2t search` with it, which says its seconds"
        raise TaskError(problem, hint=hint)


def _bench_texts(
    bundle: Bundle,
    ours: OurTexts,
    cells: list[GeneTokenArray],
    reading: Times,
    options: BundleBenchOptions,
    peers: Sequence[TextPeer],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Stages, latency and throughput."""
    describing = options.describing
    few = cells[: options.limit]
    beams = ours.describer.generation.num_beams
    report(f"{len(few)} cells one after another")
    stages = stage_times(ours, few, beams=beams, reading=reading)
    contestants: list[TextPeer] = [ours]
    if beams == 1 and describing.drafts and PHRASES_NAME in bundle.manifest.files:
        contestants.append(OurTexts(bundle, replace(describing, drafts=False), "c2t, no drafts"))
    alone = latency([*contestants, *peers], few, beams=beams, repeats=options.repeats)
    report(f"{len(cells)} cells in batches")
    sizes = [size for size in PEER_BATCHES if size <= len(cells)]
    batched = [(BatchedPeer(peer, size), size) for peer in peers for size in sizes]
    together = throughput(
        [(ours, WHOLE_FILE), *batched], cells, repeats=max(1, options.repeats // 2), beams=beams
    )
    return {"stages": stages, "latency": alone, "throughput": together}


def _cells(bundle: Bundle, options: BundleBenchOptions) -> tuple[list[GeneTokenArray], Times]:
    """Gene tokens of the cells, and seconds of reading them."""
    if options.cells is not None:
        reading = CellOptions(limit=8 * options.limit)
        cells, times = read_cells(bundle, options.cells, reading)
    else:
        golden = bundle.golden.cells
        cells, times = [np.array(cell.gene_tokens, dtype=np.int32) for cell in golden], {}
    if not cells:
        problem = "there is no cell to measure with"
        raise CellFileError(problem, hint="name a file with --cells")
    return cells, times
