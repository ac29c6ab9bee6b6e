"""The decoder at Llama-3.2-1B sizes, float32, beside PyTorch and what reading memory allows.

Needs the bundle of a preset and the same preset in PyTorch: about 16 GB of memory with --packed.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/decoder_1b.py BUNDLE -o benchmarks/results/decoder_1b.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from c2t.runtime.bench.decoder_steps import DecoderBenchOptions, OurDecoder, bench_decoder
from c2t.runtime.bench.fresh_process import measure_fresh
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.engine_protocol import EngineOptions

PRESET = "llama-3.2-1b+geneformer-v2-104m"
SEED = 0
GENES = 2048  # of the cell
TOKENS = 8  # of the text whose memory and start are measured


def main() -> None:
    """Measure memory in fresh processes, then the decoder beside PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--packed", action="store_true", help="also with the weights copied")
    parser.add_argument("--llama-cpp", action="store_true", help="beside llama.cpp too")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    document = record("decoder_1b", threads=options.threads, seed=SEED)
    document["preset"] = options.preset
    bundle = open_bundle(options.bundle, verify=False)
    golden = list(bundle.golden.cells[0].gene_tokens)
    # The first run also fills the page cache, so that no start waits for the disk.
    measure_fresh(options.bundle, golden[:GENES], threads=options.threads, max_new_tokens=1)
    document["start"] = {
        name: measure_fresh(
            options.bundle,
            golden[:genes],
            threads=options.threads,
            prepack=prepack,
            max_new_tokens=TOKENS,
        )
        for name, genes, prepack in (
            ("default", GENES, None),
            ("all mapped", GENES, False),
            ("all packed", GENES, True),
            ("default, longest cell", len(golden), None),
        )
    }
    peers = []
    if not options.no_torch:
        from c2t.export.checkpoint.open import load_bundle_source
        from c2t.export.peers.pytorch import TorchDecoder

        loaded = load_bundle_source(None, options.preset)
        peers.append(TorchDecoder(loaded, options.threads))
        if options.llama_cpp:
            from c2t.export.peers.llama_cpp import LlamaCppDecoder

            peers.append(LlamaCppDecoder(loaded, options.threads))
    ways = {"c2t": None} | ({"c2t, packed": True} if options.packed else {})
    ours = [
        OurDecoder(bundle, EngineOptions(threads=options.threads, prepack=prepack), name)
        for name, prepack in ways.items()
    ]
    document["decoder"] = decoder = bench_decoder(
        bundle,
        ours,
        peers,
        SpeedProbe(options.threads),
        DecoderBenchOptions(rounds=options.rounds, seed=SEED),
    )
    default = document["start"]["default"]
    targets = [
        target("one token, share of the floor", decoder["step_share_of_floor"]["c2t"], 0.85),
        target("bundle / peak resident bytes", 1 / default["peak_of_bundle"], 1 / 1.15),
    ]
    if peers:
        for what, key, least in (("one token", "step", 1.3), ("prefill", "prefill", 1.5)):
            value = decoder[key]["times_faster_than"]["PyTorch"]
            targets.append(target(f"{what}, times PyTorch", value, least))
    finish(document, targets, options.output)


if __name__ == "__main__":
    main()
