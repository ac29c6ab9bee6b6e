"""INT8 at real sizes: the V2-104M encoder beside PyTorch, the 1B decoder beside llama.cpp Q8_0.

Random weights: what is timed does not depend on their values. About 17 GB of memory.

    c2t export --preset llama-3.2-1b+geneformer-v2-104m --random -o BUNDLE
    python benchmarks/random_int8.py BUNDLE -o INT8
    python benchmarks/int8_1b.py BUNDLE INT8 -o benchmarks/results/int8_1b.json

`C2T_LLAMA_CPP_PLAIN=1` leaves out llama.cpp's kernels for AMX, which fail as GCC 12 compiles them.

Prompts are run whole here, without the cached prefix, so that both sides do the same work.
llama.cpp has a process of its own: threads of another library that wait by spinning would slow the
other side. The floor of a step is the time in which the machine reads the INT8 weights once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from c2t.export.checkpoint.open import load_bundle_source
from c2t.runtime.bench.interleave import Times, interleave, median_ratio, spread
from c2t.runtime.bench.machine_speed import SpeedProbe
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.engine_protocol import NO_TOKEN, DecoderEngine, EngineOptions, Float32
from c2t.runtime.engines.cpu.open import open_encoder, open_engines

PLAIN_VARIABLE = "C2T_LLAMA_CPP_PLAIN"  # of c2t.export.peers.llama_cpp
DECODER, ENCODER = "llama-3.2-1b", "geneformer-v2-104m"
SEED = 0
GENES = 2048
PROMPT = 320
VERIFIED = 16  # tokens of a step that verifies drafts
CELLS = 8  # of the largest step
STEPS = 8  # single steps in a row, as a text is written: threads are awake then
# Random weights leave INT8 and float32 this alike; a wrong graph leaves nothing.
LEAST_COSINE = 0.98


def main() -> None:
    """Check, then time both parts in turns with their peers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the float32 bundle")
    parser.add_argument("int8", type=Path)
    parser.add_argument("--decoder", default=DECODER)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    document = record("int8_1b", threads=options.threads, seed=SEED)
    document["llama_cpp_plain"] = bool(os.environ.get(PLAIN_VARIABLE))
    document["preset"] = f"{options.decoder}+{options.encoder}"
    source, judged = (open_bundle(path, verify=False) for path in (options.bundle, options.int8))
    document["bytes"] = {"float32": source.bytes, "int8": judged.bytes}
    probe = SpeedProbe(options.threads)
    document["encoder"] = encoder = time_encoder(source, judged, probe, options)
    with LlamaCpp(document["preset"], options.threads) as peer:
        document["decoder"] = decoder = time_decoder(judged, peer, probe, options)
    faster = decoder["times_faster"]
    targets = [
        target("encoder, times PyTorch doing all layers", encoder["times_faster"]["PyTorch"], 3.6),
        target("prompt of 320, times llama.cpp Q8_0", faster["prompt"], 4.5),
        target("one token, times llama.cpp Q8_0", faster["token"], 1.4),
        target("one token, share of the floor", decoder["token_share_of_floor"], 0.88),
        target("16 tokens, times llama.cpp Q8_0", faster["16"], 5.0),
        target("16 tokens over one token (under 1.7)", 1 / decoder["step_of_16"], 1 / 1.7),
        target("a token of 8 x 16, times llama.cpp's", faster["8 x 16"], 12.0),
        target("float32 size over INT8 size", source.bytes / judged.bytes, 1 / 0.30),
    ]
    finish(document, targets, options.output)


class LlamaCpp:
    """llama.cpp Q8_0 in a process of its own, with the weights of a preset."""

    def __init__(self, preset: str, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, preset, threads)
        self._process = context.Process(target=serve_llama_cpp, args=arguments, daemon=True)

    def __enter__(self) -> LlamaCpp:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def give(self, rows: Float32, tokens: list[int]) -> None:
        """What it is to run: rows [T, D] as the prompt, tokens behind it."""
        self._ask(rows, tokens)

    def prompt(self) -> Float32:
        """Run the prompt; logits [V]."""
        logits: Float32 = self._ask("prompt")
        return logits

    def step(self, count: int, times: int = 1) -> None:
        """Run so many tokens behind the prompt, several times in a row."""
        self._ask("step", count, times)

    def _ask(self, *question: Any) -> Any:
        self._connection.send(question)
        return self._connection.recv()


def serve_llama_cpp(connection: Connection, preset: str, threads: int | None) -> None:
    """Answer what `LlamaCpp` asks; the first question brings the prompt and the tokens."""
    from c2t.export.peers.llama_cpp import LlamaCppDecoder

    loaded = load_bundle_source(None, preset)
    decoder = LlamaCppDecoder(loaded, threads, quantised=True)
    del loaded  # its weights are in llama.cpp's file now
    rows, tokens = connection.recv()
    connection.send(None)
    while True:
        match connection.recv():
            case ("prompt",):
                connection.send(decoder.prefill_rows(rows))
            case ("step", count, times):
                for _ in range(times):
                    decoder.step(tokens[:count])
                connection.send(None)


def time_encoder(
    source: Bundle, judged: Bundle, probe: SpeedProbe, options: argparse.Namespace
) -> dict[str, Any]:
    """Gene tokens to hidden rows: PyTorch does all layers for all rows, as the reference does."""
    # The encoder's weights are the same whatever the decoder.
    loaded = load_bundle_source(None, f"llama-tiny+{options.encoder}")
    first = loaded.genes.cls_token or 0
    draw = np.random.default_rng(SEED)
    genes = draw.choice(np.arange(4, 20000, dtype=np.int32), GENES, replace=False)
    genes[0] = first
    bert = loaded.model.encoder.bert
    tokens = torch.from_numpy(genes.astype(np.int64))[None]
    engine = EngineOptions(threads=options.threads)
    encoders = {
        name: open_encoder(b, engine) for name, b in (("c2t INT8", judged), ("c2t float32", source))
    }
    said = {name: label for name, (_, label) in encoders.items()}

    @torch.inference_mode()
    def reference() -> torch.Tensor:
        states = bert(input_ids=tokens, output_hidden_states=True).hidden_states
        return states[loaded.model.layers_run][0]

    def run(name: str) -> Float32:
        return encoders[name][0].encode_with_hidden(genes[None])[1][0]

    hidden = run("c2t INT8")
    expected = reference()[: len(hidden)].numpy()
    check("the encoder's rows", hidden, expected)
    times = interleave(
        {
            "c2t INT8": lambda: run("c2t INT8"),
            "PyTorch": reference,
            "c2t float32": lambda: run("c2t float32"),
            "gemm": probe.multiply,
        },
        options.rounds,
    )
    return {
        "genes": GENES,
        "engines": said,
        "gemm_flops_per_second": float(
            np.median([probe.flops_per_second(s) for s in times.pop("gemm")])
        ),
        "least_cosine_of_a_row": least_cosine(hidden, expected),
        "seconds": {name: asdict(spread(runs)) for name, runs in times.items()},
        "times_faster": {
            name: median_ratio(times[name], times["c2t INT8"])
            for name in ("PyTorch", "c2t float32")
        },
    }


def time_decoder(
    judged: Bundle, peer: LlamaCpp, probe: SpeedProbe, options: argparse.Namespace
) -> dict[str, Any]:
    """A prompt, one token, a step of 16, and 16 tokens for each of 8 cells, around context 320."""
    engines = open_engines(judged, EngineOptions(threads=options.threads))
    decoder, prompt = engines.decoder, judged.manifest.prompt
    draw = np.random.default_rng(SEED)
    genes = np.array(judged.golden.cells[0].gene_tokens[:GENES], np.int32)
    vectors = engines.encoder.encode(genes[None])[0]
    # Scales are those of prompts: rows drawn at random would be clipped, and show no agreement.
    before = np.asarray(judged.token_embedding[list(prompt.prefix_ids)], np.float32)
    rows = np.concatenate([before, vectors])[:PROMPT]
    tokens = draw.integers(0, judged.manifest.decoder.vocabulary_size, VERIFIED).tolist()
    embedded = judged.token_embedding[tokens]
    cache = decoder.new_cache(CELLS, PROMPT + VERIFIED)
    peer.give(rows, tokens)
    logits = run_rows(decoder, cache, rows)
    check("the decoder's logits", logits[None], peer.prompt()[None])
    ours: dict[str, Callable[[], Any]] = {
        "prompt": lambda: run_rows(decoder, cache, rows),
        "token": repeated(lambda: run_rows(decoder, cache, embedded[:1], position=PROMPT)),
        "16": lambda: run_rows(decoder, cache, embedded, position=PROMPT),
        "8 x 1": lambda: run_rows(decoder, cache, embedded[:1], position=PROMPT, cells=CELLS),
        "8 x 16": lambda: run_rows(decoder, cache, embedded, position=PROMPT, cells=CELLS),
    }
    theirs: dict[str, Callable[[], Any]] = {
        "llama.cpp prompt": peer.prompt,
        "llama.cpp token": lambda: peer.step(1, STEPS),
        "llama.cpp 16": lambda: peer.step(VERIFIED),
    }
    prompts = {"prompt": ours.pop("prompt"), "llama.cpp prompt": theirs.pop("llama.cpp prompt")}
    times: Times = interleave(prompts, max(3, options.rounds // 2))
    times |= interleave({**ours, **theirs, "read": probe.read}, 3 * options.rounds)
    for name in ("token", "llama.cpp token"):
        times[name] = [seconds / STEPS for seconds in times[name]]
    weights = judged.file("decoder.onnx.data").stat().st_size
    floor = [weights / probe.bytes_per_second(seconds) for seconds in times.pop("read")]
    peer_token = times["llama.cpp token"]
    return {
        "weight_bytes": weights,
        "read_bytes_per_second": weights / float(np.median(floor)),
        "seconds": {name: asdict(spread(runs)) for name, runs in times.items()},
        "token_share_of_floor": median_ratio(floor, times["token"]),
        "step_of_16": median_ratio(times["16"], times["token"]),
        "times_faster": {
            "prompt": median_ratio(times["llama.cpp prompt"], times["prompt"]),
            "token": median_ratio(peer_token, times["token"]),
            "16": median_ratio(times["llama.cpp 16"], times["16"]),
            "8 x 16": CELLS * VERIFIED * median_ratio(peer_token, times["8 x 16"]),
        },
    }


def repeated(run: Callable[[], Any]) -> Callable[[], Any]:
    """Several runs as one."""
    return lambda: [run() for _ in range(STEPS)]


def run_rows(
    decoder: DecoderEngine, cache: Any, rows: Float32, *, position: int = 0, cells: int = 1
) -> Float32:
    """Run embedded tokens [T, D] for the first cells of a cache; logits [V] after the last."""
    count = len(rows)
    wanted = 1 if position == 0 else count  # a step that verifies drafts wants all of them
    step = decoder.bind(cache, (0, cells), count, wanted)
    step.token_ids[:] = NO_TOKEN
    step.inputs_embeds[:] = rows
    step.position_ids[:] = np.arange(position, position + count)
    step.write_index[:] = position
    step.logit_rows[:] = np.arange(count - wanted, count)
    logits: Float32 = step.run()[0, -1]
    return logits


def check(what: str, result: Float32, expected: Float32) -> None:
    """Times of something else mean nothing."""
    cosine = least_cosine(result, expected)
    if not cosine >= LEAST_COSINE:
        message = f"{what} are not those of the peer: cosine {cosine:.3f}"
        raise SystemExit(message)


def least_cosine(result: Float32, expected: Float32) -> float:
    """The least cosine of rows [n, H]."""
    norms = np.linalg.norm(result, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((result * expected).sum(axis=1) / norms).min())


if __name__ == "__main__":
    main()
