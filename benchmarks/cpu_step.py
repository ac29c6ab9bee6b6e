"""Steps and prompts of the decoder at Llama-3.2-1B sizes, INT8: our kernel beside ONNX Runtime.

Random weights with scales that are not calibrated: what is timed does not depend on their values.
About 9 GB of memory.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/cpu_step.py BUNDLE -o benchmarks/results/cpu_step.json

The floor of a step is the time in which the machine reads the INT8 weights once, measured in the
same rounds. Our kernel has threads of its own, so both sides run in one process, in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.runtime.bench.interleave import interleave, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, record, status_bytes, target
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.engine_protocol import NO_TOKEN, EngineOptions, Float32
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.engines.known_decoder.recognise import KnownDecoder, recognise_decoder

SEED = 0
CONTEXT = 320  # cache positions in use
CELLS = 8
# Tokens of a cell, and cells: one token, drafts of one cell, several cells.
SHAPES = {"1": (1, 1), "4": (4, 1), "8": (8, 1), "16": (16, 1), "32": (32, 1)}
SHAPES |= {"8 x 1": (1, CELLS), "8 x 4": (4, CELLS), "8 x 16": (16, CELLS)}
SHAPES |= {"prompt": (CONTEXT, 1)}  # from the first cache position on
SCALE = 0.05  # of every input: rows after a norm are about one
EMBEDDING = 0.02  # standard deviation of an embedding, as models begin with


def main() -> None:
    """Check, then time in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="its folder; float32 unless --as-it-is")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--as-it-is", action="store_true", help="run its own weights")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    document = record("cpu_step", threads=options.threads, seed=SEED)
    with TemporaryDirectory(dir=options.bundle.parent) as folder:
        path = options.bundle / "decoder.onnx"
        if not options.as_it_is:
            path = write_int8(path, Path(folder) / "decoder.onnx")
        document |= measure(path, options)
    steps, floor = document["step"], document["share_of_floor"]["kernel"]
    targets = [
        target("one token, share of the floor", floor["1"], 0.88),
        target("16 tokens over one token (under 1.7)", 1 / steps["16_over_1"]["kernel"], 1 / 1.7),
        target("one token, times ONNX Runtime", steps["times_faster"]["1"], 1.4),
        target("16 tokens, times ONNX Runtime", steps["times_faster"]["16"], 1.7),
        target("a prompt, times ONNX Runtime", steps["times_faster"]["prompt"], 1.0),
    ]
    finish(document, targets, options.output)


def write_int8(source: Path, path: Path) -> Path:
    """The graph with every linear in INT8."""
    graph = StoredGraph(source)
    recipe = LinearRecipe(precision=Precision.int8, scale=SCALE)
    linears = {linear.name: recipe for linear in graph.linears()}
    write_quantised(graph, path, GraphRecipe(linears=linears))
    return path


def manifest_entry(known: KnownDecoder) -> Decoder:
    """What a manifest would say of a decoder."""
    sizes = known.sizes
    return Decoder(
        model="",
        layers=sizes.layers,
        hidden_size=sizes.hidden_size,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_size=sizes.head_size,
        vocabulary_size=sizes.vocabulary_size,
        max_positions=len(known.values["rotary.cos"]),
        token_embedding=TensorReference(file="", offset=0, shape=(0, 0), dtype="float32"),
    )


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Open both, compare and time them."""
    engine = EngineOptions(threads=options.threads, prepack=True)
    sizes = manifest_entry(recognise_decoder(path))
    draw = np.random.default_rng(SEED)
    table = draw.normal(0, EMBEDDING, (64, sizes.hidden_size)).astype(np.float32)
    resident, since = status_bytes("VmRSS"), time.perf_counter()
    kernel, said = open_decoder(path, sizes, table, engine)
    opening = {"seconds": time.perf_counter() - since, "resident_bytes": -resident}
    opening["resident_bytes"] += status_bytes("VmRSS")
    if said != "every step is one kernel":
        raise SystemExit(said)
    library = OnnxRuntimeDecoder(path, sizes, table, replace(engine, step_kernel=False))
    weights = path.with_name(f"{path.name}.data").stat().st_size
    probe = SpeedProbe(options.threads)
    runs: dict[str, Callable[[], Any]] = {"read": probe.read}
    for name, decoder in (("kernel", kernel), ("ONNX Runtime", library)):
        draw = np.random.default_rng(SEED)  # the same rows for both
        cache = decoder.new_cache(CELLS, CONTEXT + 32)
        cache.make_room(cache.capacity)
        for shape, (tokens, cells) in SHAPES.items():
            rows = draw.normal(0, EMBEDDING, (cells, tokens, sizes.hidden_size))
            rows = rows.astype(np.float32)
            runs[f"{name}, {shape}"] = partial(run, decoder, cache, rows)
    difference = {}
    for shape in SHAPES:
        ours, theirs = (runs[f"{side}, {shape}"]() for side in ("kernel", "ONNX Runtime"))
        rows = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
        difference[shape] = {"largest": float(rows.max()), "rows_equal": float((rows == 0).mean())}
    times = interleave(runs, options.rounds)
    floor = [weights / probe.bytes_per_second(seconds) for seconds in times.pop("read")]
    sides = ("kernel", "ONNX Runtime")
    return {
        "weight_bytes": weights,
        "read_bytes_per_second": weights / float(np.median(floor)),
        "opening": opening,
        "difference_of_a_row": difference,
        "seconds": {name: asdict(spread(seconds)) for name, seconds in times.items()},
        "share_of_floor": {
            side: {shape: median_ratio(floor, times[f"{side}, {shape}"]) for shape in SHAPES}
            for side in sides
        },
        "step": {
            "times_faster": {
                shape: median_ratio(times[f"ONNX Runtime, {shape}"], times[f"kernel, {shape}"])
                for shape in SHAPES
            },
            "16_over_1": {
                side: median_ratio(times[f"{side}, 16"], times[f"{side}, 1"]) for side in sides
            },
        },
    }


def run(decoder: OnnxRuntimeDecoder, cache: Any, rows: Float32) -> Any:
    """Logits [B,R,V] of rows [B,T,D]: all behind `CONTEXT` cache positions, or a prompt's last."""
    cells, tokens, _ = rows.shape
    context, wanted = (0, 1) if tokens == CONTEXT else (CONTEXT, tokens)
    step = decoder.bind(cache, (0, cells), tokens, wanted)
    step.token_ids[:] = NO_TOKEN
    step.inputs_embeds[:] = rows
    step.position_ids[:] = np.arange(context, context + tokens)
    step.write_index[:] = context
    step.logit_rows[:] = np.arange(tokens - wanted, tokens)
    return step.run()


if __name__ == "__main__":
    main()
