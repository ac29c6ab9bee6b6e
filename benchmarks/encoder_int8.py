"""The INT8 encoder at V2-104M sizes: our kernel beside ONNX Runtime's session, and PyTorch.

The session is measured twice: with our operator of INT8 attention, and as the bundle has it.

Random weights; scales of activations from the first run. PyTorch computes all 12 layers in float32,
as the reference does; c2t the 11 that are needed, and 256 rows in the last. Gene embedding is left
out on all sides. Where other work runs on the machine, the ratios of processor time are the ones to
read: a processor does less in a second then, for all of them alike.

    python benchmarks/encoder_int8.py --genes 2048 4096 -o benchmarks/results/encoder_int8.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.quantise.scales import scale_of
from c2t.calibration.ranges.linears import StoredGraph
from c2t.calibration.ranges.tapped_graph import TappedGraph
from c2t.kernels.attention.cpu import attention_isa
from c2t.kernels.encoder.cpu import CpuEncoder, PackedEncoder, encoder_kernels
from c2t.kernels.native import native_status
from c2t.runtime.bench.interleave import PAUSE, both_median_ratios, both_seconds_of, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, peak_resident_bytes, record, target
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.attention_pass import use_int8_attention
from c2t.runtime.engines.cpu.session import ChangedGraph, open_session
from c2t.runtime.engines.known_encoder.recognise import recognise_encoder

PRESET = "llama-tiny+geneformer-v2-104m"
SEED = 0
OURS = "INT8, one kernel"
OPERATOR, STANDARD = "INT8, INT8 attention", "INT8, ONNX Runtime's attention"
NAMES = (OURS, OPERATOR, STANDARD)
PYTORCH = "PyTorch float32, all layers"
LEAST_COSINE = 0.99  # of a row with the float32 encoder's
LEAST = {2048: 3.6, 4096: 4.0}  # times PyTorch


def main() -> None:
    """Check, then measure all in turns, then the memory of each alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.memory_of:
        folder, name, genes = options.memory_of
        print(json.dumps(memory_of(Path(folder), name, int(genes), options.threads)))
        return
    document = record("encoder_int8", threads=options.threads, seed=SEED)
    document |= {"preset": options.preset, "isa": attention_isa(), "genes": {}}
    probe = SpeedProbe(options.threads)
    targets = []
    with tempfile.TemporaryDirectory() as folder:
        encoder = write_graphs(Path(folder), options)
        for genes in options.genes:
            found = time_encoder(Path(folder), encoder, genes, probe, options)
            document["genes"][str(genes)] = found
            name, ratio = f"encoder, {genes} genes, times PyTorch", found["times_faster"][PYTORCH]
            targets.append(target(name, ratio, LEAST.get(genes, 1.0)))
    finish(document, targets, options.output)


def rows_of(genes: int, width: int) -> Any:
    """Embeddings [1, S, H] as a LayerNorm leaves them."""
    return np.random.default_rng(SEED).standard_normal((1, genes, width), dtype=np.float32)


def write_graphs(folder: Path, options: argparse.Namespace) -> Any:
    """Write both graphs into a folder; returns PyTorch's encoder."""
    import torch

    from c2t.export.checkpoint.open import load_bundle_source
    from c2t.export.encoders.geneformer import write_encoder_graph

    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_bundle_source(None, options.preset).model
    path = folder / "encoder.onnx"
    write_encoder_graph(model.encoder, path, emb_layer=model.emb_layer, rows=model.rows)
    graph = StoredGraph(path)
    width = int(model.encoder.config.hidden_size)
    tapped = TappedGraph(graph, threads=options.threads)
    taps, _ = tapped.run({"embeddings": rows_of(512, width)}, 0, 64)
    recipe = GraphRecipe(
        linears={
            name: LinearRecipe(precision=Precision.int8, scale=scale_of(tap.largest.max()))
            for name, tap in taps.items()
        }
    )
    write_quantised(graph, folder / "int8.onnx", recipe)
    return model.encoder.bert.encoder, model.layers_run


def open_encoder(folder: Path, name: str, threads: int | None) -> Callable[[Any], Any]:
    """What gives hidden states [1, R, H] of embeddings [1, S, H], by its name."""
    options = EngineOptions(threads=threads)
    path = folder / "int8.onnx"
    if name == OURS:
        kernels = encoder_kernels()
        if kernels is None:
            message = "there is no kernel for this processor"
            raise SystemExit(message)
        kernel = CpuEncoder(PackedEncoder(kernels, recognise_encoder(path)), threads=threads)
        return lambda embeddings: kernel.run(embeddings).hidden
    if name == STANDARD:
        return run_of(open_session(path, options))
    library, isa = native_status().library, attention_isa()
    content = use_int8_attention(path.read_bytes(), str(isa))
    if library is None or content is None:
        raise SystemExit(native_status().reason)
    return run_of(open_session(path, options, changed=ChangedGraph(content, folder, library)))


def run_of(session: Any) -> Callable[[Any], Any]:
    """A session as a function."""
    return lambda rows: session.run(["hidden"], {"embeddings": rows})[0]


def time_encoder(
    folder: Path, encoder: Any, genes: int, probe: SpeedProbe, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds of each, how alike they are, and their memory."""
    import torch

    layers, layers_run = encoder
    rows = rows_of(genes, int(layers.config.hidden_size))
    tensor = torch.from_numpy(rows)
    encoders = {name: open_encoder(folder, name, options.threads) for name in NAMES}

    @torch.inference_mode()
    def reference() -> Any:
        return layers(tensor, output_hidden_states=True).hidden_states[layers_run][0].numpy()

    def run(name: str) -> Any:
        return encoders[name](rows)[0]

    found = {name: run(name) for name in NAMES}
    expected = reference()[: len(found[OURS])]
    cosines = {name: least_cosine(hidden, expected) for name, hidden in found.items()}
    if not min(cosines.values()) >= LEAST_COSINE:
        message = f"rows differ from PyTorch's: least cosines {cosines}"
        raise SystemExit(message)
    runs = {
        OURS: lambda: run(OURS),
        PYTORCH: reference,
        OPERATOR: lambda: run(OPERATOR),
        STANDARD: lambda: run(STANDARD),
        "gemm": probe.multiply,
        "read": probe.read,
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name in runs if number % 2 == 0 else reversed(runs):
            sleep(PAUSE)
            times[name].append(both_seconds_of(runs[name]))
    gemm, read = ([seconds for seconds, _ in times.pop(name)] for name in ("gemm", "read"))
    ours = np.array(times[OURS])
    ratios = {name: both_median_ratios(times[name], ours) for name in (PYTORCH, OPERATOR, STANDARD)}
    return {
        "least_cosine_of_a_row": cosines,
        "seconds": {name: asdict(spread([s for s, _ in both])) for name, both in times.items()},
        "times_faster": {name: elapsed for name, (elapsed, _) in ratios.items()},
        "times_less_processor_time": {name: processor for name, (_, processor) in ratios.items()},
        "gemm_flops_per_second": float(np.median([probe.flops_per_second(s) for s in gemm])),
        "read_bytes_per_second": float(np.median([probe.bytes_per_second(s) for s in read])),
        "bytes_of_a_run": {name: fresh_memory(folder, name, genes, options) for name in NAMES},
    }


def least_cosine(found: Any, expected: Any) -> float:
    """The least cosine of rows [n, H]."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / norms).min())


def fresh_memory(folder: Path, name: str, genes: int, options: argparse.Namespace) -> int:
    """What the first run adds to the peak memory of a process that has opened the graph."""
    command = [sys.executable, "-P", __file__, "--memory-of", str(folder), name, str(genes)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))


def memory_of(folder: Path, name: str, genes: int, threads: int | None) -> int:
    """Bytes, in this process."""
    encoder = open_encoder(folder, name, threads)
    width = recognise_encoder(folder / "int8.onnx").hidden_size
    rows = rows_of(genes, width)
    before = peak_resident_bytes()
    encoder(rows)
    return peak_resident_bytes() - before


if __name__ == "__main__":
    main()
