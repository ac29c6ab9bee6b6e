"""The whole benchmark of a bundle: what `c2t bench BUNDLE` measures, as one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from c2t.runtime.bench.contest import OurTexts, latency, throughput
from c2t.runtime.bench.decoder_steps import DecoderBenchOptions, OurDecoder, bench_decoder
from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.interleave import Times
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.peer import DecoderPeer, TextPeer
from c2t.runtime.bench.record import load, peak_resident_bytes, record
from c2t.runtime.bench.stage_times import read_cells, stage_times
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.encoded_cells import GeneTokenArray
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.generation.phrase_table import PHRASES_NAME
from c2t.runtime.system.errors import CellFileError

WHOLE_FILE = 1 << 30  # cells at once: more than any file has
PEER_BATCHES = (1, 8, 32)


@dataclass(frozen=True, kw_only=True)
class BundleBenchOptions:
    """What is measured, and how often.

    Args:
        cells: An `.h5ad` file; None: the bundle's golden cells, without reading a file.
        limit: Cells that are described alone; eight times as many in batches.
        repeats: Rounds over the cells, and timed rounds of steps.
        describing: How cells are described.
        seed: Of everything random.
    """

    cells: Path | None = None
    limit: int = 8
    repeats: int = 3
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    seed: int = 0


class _Batched:
    """A peer with a batch size for a name, so that it can compete with itself."""

    def __init__(self, peer: TextPeer, batch: int) -> None:
        self.name = f"{peer.name}, batches of {batch}"
        self.describe = peer.describe


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
        bundle: The bundle.
        options: What, and how often.
        text_peers: Others that describe cells with the same weights.
        decoder_peers: Others that run the same decoder.
        report: Told what is being measured.

    Returns:
        A JSON document; ratios are medians of interleaved runs.

    Raises:
        CellFileError: The cells cannot be read, or there are none.
        EngineError: No engine, or a peer that computes something else.
    """
    describing = options.describing
    document = record("bundle", threads=describing.threads, seed=options.seed)
    document["bundle"] = {
        "name": bundle.manifest.name,
        "precision": bundle.manifest.precision,
        "bytes": bundle.bytes,
        "sha256": bundle.digest,
    }
    cells, reading = _cells(bundle, options)
    few, many = cells[: options.limit], cells
    document["genes_per_cell"] = float(np.median([len(cell) for cell in cells]))

    report("start and memory, in a fresh process")
    document["start"] = measure_fresh(
        bundle.path,
        few[0].tolist(),
        threads=describing.threads,
        prepack=describing.prepack,
        max_new_tokens=describing.max_new_tokens,
        engine=describing.engine,
    )
    report("the machine's speed")
    probe = SpeedProbe(describing.threads)
    document["speed"] = probe.measure()

    report(f"{len(few)} cells one after another")
    ours = OurTexts(bundle, describing)
    beams = ours.describer.generation.num_beams
    document["stages"] = stage_times(ours, few, beams=beams, reading=reading)
    contestants: list[TextPeer] = [ours]
    if beams == 1 and describing.drafts and PHRASES_NAME in bundle.manifest.files:
        contestants.append(OurTexts(bundle, replace(describing, drafts=False), "c2t, no drafts"))
    document["latency"] = latency(
        [*contestants, *text_peers], few, beams=beams, repeats=options.repeats
    )
    report(f"{len(many)} cells in batches")
    sizes = [size for size in PEER_BATCHES if size <= len(many)]
    batched = [(_Batched(peer, size), size) for peer in text_peers for size in sizes]
    document["throughput"] = throughput(
        [(ours, WHOLE_FILE), *batched], many, repeats=max(1, options.repeats // 2), beams=beams
    )
    report("the decoder alone")
    engine = EngineOptions(threads=describing.threads, prepack=describing.prepack)
    document["engine"] = ours.describer.engines.label
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


def _cells(bundle: Bundle, options: BundleBenchOptions) -> tuple[list[GeneTokenArray], Times]:
    """Gene tokens of the cells, and times of reading them."""
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
