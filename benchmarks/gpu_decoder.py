"""A part of gpu_engines.py: the 1B decoder in one variant, checked, then timed.

"float32": the bundle's own graphs. "float16": its half-precision graphs, with our kernel for short
steps. "float16-graphs": the same graphs alone, all on ONNX Runtime. "int8": an INT8 bundle, whose
int8 weights the kernel reads, for each 64 tokens once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from gpu_checks import (
    LOGIT_TOLERANCE,
    bind_step,
    check_bundle_logits,
    check_rows_of_the_step_kernel,
    check_step_kernel,
)
from gpu_sizes import BATCHES
from gpu_timing import REPEATS, WARM_UP, copy_bandwidth, device_seconds

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.gpu.open import open_onnxruntime_engines
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import FixedCells, GeneratedSequence, PromptedCell

GENERATED = 100  # tokens of the described cell
STEP_TOKENS = (1, 4, 16, 32, 64, 128, 256)


def time_decoder(options: argparse.Namespace, note: Callable[..., None], variant: str) -> None:
    """Check the logits against the CPU engine's; then time steps, and one description."""
    int8 = variant == "int8"
    bundle = open_bundle(options.scratch / ("bundle-int8" if int8 else "bundle"), verify=False)
    graphs = options.scratch / variant if variant != "float32" else None
    request = EngineOptions(graphs=graphs)
    since = perf_counter()
    engines = open_onnxruntime_engines(bundle, request)
    note(open_seconds=perf_counter() - since, engine=engines.label)
    decoder: Any = engines.decoder
    vectors = random_vectors(bundle)
    if not int8:
        check_bundle_logits(bundle, decoder, LOGIT_TOLERANCE[variant.partition("-")[0]])
    elif isinstance(decoder.graph, DecoderStepGraph):  # the CPU's activations are quantised
        check_step_kernel(decoder, bundle.manifest.prompt, vectors)
        check_rows_of_the_step_kernel(decoder, bundle.manifest.prompt, vectors)
    else:
        note(**{"not executed": engines.label})
        return
    note(logits_right=True)

    # The decoder's data holds all that a step reads, the token table once as the last matrix.
    weights = (bundle.path if int8 else graphs or bundle.path) / "decoder.onnx.data"
    bandwidth = copy_bandwidth(decoder.device)
    floor = weights.stat().st_size / bandwidth
    note(copy_bytes_per_second=bandwidth, floor_seconds=floor)
    note(**{"cuda graph": time_steps(decoder, bundle, vectors, floor)})
    note(text=time_text(engines, bundle, vectors))
    if variant in ("int8", "float16"):
        length = len(bundle_prompts(bundle).of_vectors(vectors)) + GENERATED // 2
        note(many_cells=time_rows(decoder, length, floor))
    del engines, decoder
    engines = open_onnxruntime_engines(bundle, replace(request, cuda_graph=False))
    note(**{"no cuda graph": time_steps(engines.decoder, bundle, vectors, floor)})


def random_vectors(bundle: Bundle) -> np.ndarray:
    """A cell's vectors [K, D], as large as text embeddings."""
    shape = (bundle.manifest.projector.vectors, bundle.manifest.decoder.hidden_size)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def time_steps(decoder: Any, bundle: Bundle, vectors: np.ndarray, floor: float) -> dict[str, Any]:
    """Seconds of a prompt, and of steps of 1 to 256 tokens of one cell."""
    prompts = bundle_prompts(bundle)
    runner, cell = prompts.runner(decoder), prompts.of_vectors(vectors)
    length = len(cell)
    cache = decoder.new_cache(1, length + max(STEP_TOKENS))
    prefill = []
    for _ in range(6):
        since = perf_counter()
        banned = np.empty((1, 1, 0), np.int32)
        runner.choose(cache, 0, cell, draft=(), banned=banned)
        prefill.append(perf_counter() - since)
    times: dict[str, Any] = {"prefill_seconds": float(np.median(prefill[2:]))}
    for tokens in STEP_TOKENS:
        step = bind_step(decoder, cache, tokens, length)
        times[f"{tokens} tokens"] = step_times(decoder, step, floor)
    return times


def time_rows(decoder: Any, length: int, floor: float) -> dict[str, Any]:
    """Seconds of steps of one token of many cells, behind `length` tokens of each."""
    cache = decoder.new_cache(max(BATCHES), length + 8)
    times = {}
    for rows in BATCHES:
        step = decoder.bind(cache, (0, rows), 1, 1)
        step.token_ids[:] = 11
        step.position_ids[:], step.write_index[:] = length, length
        step.logit_rows[:] = 0
        times[f"{rows} cells"] = step_times(decoder, step, floor)
    return times


def step_times(decoder: Any, step: Any, floor: float) -> dict[str, float]:
    """Seconds of a step with its choice, and of the graph (or the kernel) alone."""
    banned = np.full((*step.logit_rows.shape, 3), 5, np.int32)
    whole = []
    for _ in range(REPEATS + WARM_UP):
        since = perf_counter()
        step.choose(banned)
        whole.append(perf_counter() - since)
    alone = device_seconds(decoder.device, step.enqueue)
    seconds = float(np.median(whole[WARM_UP:]))
    return {"seconds": seconds, "graph_seconds": alone, "share_of_floor": floor / seconds}


def time_text(engines: Engines, bundle: Bundle, vectors: np.ndarray) -> dict[str, Any]:
    """Seconds of a prompt and 100 tokens of one cell, with drafts and without.

    No phrase table knows the texts of random weights, so drafts come from the model's own text:
    from all of it, where every draft is right (the most that drafts can gain), and from a copy in
    which every tenth token is wrong.
    """
    plain, seconds = write_text(engines, bundle, vectors)
    text = list(plain.token_ids)
    wrong = [token + (number % 10 == 9) for number, token in enumerate(text)]
    times: dict[str, Any] = {"tokens": len(text)}
    times["no drafts"] = {"seconds": seconds, "steps": plain.steps}
    for name, caption in (("every draft right", text), ("one in ten wrong", wrong)):
        result, seconds = write_text(engines, bundle, vectors, [caption])
        times[name] = {
            "seconds": seconds,
            "steps": result.steps,
            "same text": result.token_ids == plain.token_ids,
        }
    return times


def write_text(
    engines: Engines, bundle: Bundle, vectors: np.ndarray, captions: Sequence[list[int]] = ()
) -> tuple[GeneratedSequence, float]:
    """Write one cell several times; the text, and the median seconds."""
    generation = replace(
        bundle.manifest.generation,
        max_new_tokens=GENERATED,
        no_repeat_ngram_size=3,
        eos_token_ids=(),
    )
    prompts = bundle_prompts(bundle)
    runner, cell = prompts.runner(engines.decoder), prompts.of_vectors(vectors)
    times = []
    for _ in range(4):  # the first one records CUDA graphs
        search = GreedySearch(
            engines.decoder,
            runner,
            generation=generation,
            rows=1,
            capacity=len(cell) + GENERATED + 32,
            drafter=Drafter(build_phrase_table(captions)) if captions else None,
        )
        since = perf_counter()
        ((_, text),) = search.run(FixedCells([PromptedCell(0, cell)]))
        times.append(perf_counter() - since)
        if not isinstance(text, GeneratedSequence):
            raise SystemExit(text.error)
    return text, float(np.median(times[1:]))
