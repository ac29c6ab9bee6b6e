"""One form of the 1B decoder on a GPU: checked against the CPU engine, then timed.

"float32": the bundle's own graphs on ONNX Runtime. "float16": its set for the CUDA engine, with our
kernel for short steps. "float16-graphs": the set's graphs alone, all on ONNX Runtime.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

GENERATED = 100  # tokens of the described cell
STEPS = 60  # timed steps of each kind
COPY_BYTES = 1 << 30
# |difference| / largest |logit|; float16 has 11 bits, and 16 layers of sums.
LOGIT_TOLERANCE = {"float32": 1e-3, "float16": 3e-2, "float16-graphs": 3e-2}


def check_decoder(options: argparse.Namespace, note: Callable[..., None], form: str) -> None:
    """One form at 1B sizes: logits against the CPU engine, step times, one description."""
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.engine_protocol import EngineOptions
    from c2t.runtime.engines.cpu.encoder import open_engines
    from c2t.runtime.engines.gpu.open import open_onnxruntime_engines
    from c2t.runtime.generation.prompt import PromptRunner

    folder = options.scratch / "bundle"
    if not (folder / "manifest.json").is_file():
        note(**{"not executed": "the part fill has made no bundle"})
        return
    bundle = open_bundle(folder, verify=False)
    graphs = options.scratch / form if form != "float32" else None
    engine = EngineOptions(graphs=graphs)
    since = perf_counter()
    engines = open_onnxruntime_engines(bundle, engine)
    note(open_seconds=perf_counter() - since, engine=engines.label)
    weights = (graphs or folder) / "decoder.onnx.data"
    # float32 rotary tables and all; the token table is read once more only row by row.
    bandwidth = read_bandwidth()
    floor = weights.stat().st_size / bandwidth
    note(read_bytes_per_second=bandwidth, floor_seconds=floor)

    vectors = random_vectors(bundle)
    logits = {}
    cpu = open_engines(bundle, EngineOptions(prepack=False))
    for name, decoder in (("cpu", cpu.decoder), ("cuda", engines.decoder)):
        prompts = PromptRunner(decoder, bundle.manifest.prompt)
        length = prompts.length(len(vectors))
        cache = decoder.new_cache(1, length + 64)
        first = prompts.prefill(cache, 0, vectors).copy()
        step = bind_step(decoder, cache, 4, length)
        logits[name] = [first, step.run()[0].copy()]
    differences = [
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(logits["cuda"], logits["cpu"], strict=True)
    ]
    note(
        logit_difference=dict(zip(("prefill", "step"), differences, strict=True)),
        logits_right=max(differences) <= LOGIT_TOLERANCE[form],
    )
    del cpu, cache
    for graph in (True, False):
        if not graph:
            del engines
            engines = open_onnxruntime_engines(bundle, replace(engine, cuda_graph=False))
        name = "cuda graph" if graph else "no cuda graph"
        note(**{name: time_steps(engines.decoder, bundle, vectors, floor)})
        if graph:
            note(text=time_text(engines, bundle, vectors))


def random_vectors(bundle: Any) -> np.ndarray:
    """A cell's vectors [K, D], of the size of text embeddings."""
    shape = (bundle.manifest.projector.vectors, bundle.manifest.decoder.hidden_size)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def bind_step(decoder: Any, cache: Any, tokens: int, slot: int) -> Any:
    """A step of one cell behind `slot` tokens, its arrays filled."""
    step = decoder.bind(cache, (0, 1), tokens, tokens)
    step.token_ids[0] = np.arange(tokens) + 11
    step.position_ids[0] = np.arange(slot, slot + tokens)
    step.write_index[0] = slot
    step.logit_rows[0] = np.arange(tokens)
    return step


def time_steps(decoder: Any, bundle: Any, vectors: np.ndarray, floor: float) -> dict[str, Any]:
    """Seconds of a step with its choice, of the graph alone, and of a prompt."""
    from c2t.runtime.generation.prompt import PromptRunner

    prompts = PromptRunner(decoder, bundle.manifest.prompt)
    length = prompts.length(len(vectors))
    cache = decoder.new_cache(1, length + 128)
    prefill = []
    for _ in range(6):
        since = perf_counter()
        banned = np.empty((1, 1, 0), np.int32)
        prompts.choose(cache, 0, vectors, draft=(), banned=banned)
        prefill.append(perf_counter() - since)
    found: dict[str, Any] = {"prefill_seconds": float(np.median(prefill[2:]))}
    for tokens in (1, 4, 16):
        step = bind_step(decoder, cache, tokens, length)
        found[f"{tokens} tokens"] = step_times(decoder, step, tokens, floor)
    return found


def step_times(decoder: Any, step: Any, tokens: int, floor: float) -> dict[str, float]:
    """Seconds of a step with its choice, and of the graph (or the kernel) alone."""
    banned = np.full((1, tokens, 3), 5, np.int32)
    whole = []
    for _ in range(STEPS + 8):
        since = perf_counter()
        step.choose(banned)
        whole.append(perf_counter() - since)
    alone = device_seconds(decoder.device, step.enqueue)
    seconds = float(np.median(whole[8:]))
    return {"seconds": seconds, "graph_seconds": alone, "share_of_floor": floor / seconds}


def time_text(engines: Any, bundle: Any, vectors: np.ndarray) -> dict[str, Any]:
    """Prompt and 100 tokens of one cell.

    Random weights say what no phrase table knows, so drafts are taken from a text of the model's
    own: one table knows all of it (every draft is right: the most that drafts can do), one knows it
    with every tenth token wrong.
    """
    from c2t.runtime.generation.drafts import Drafter
    from c2t.runtime.generation.greedy import GreedySearch
    from c2t.runtime.generation.phrase_table import build_phrase_table
    from c2t.runtime.generation.prompt import PromptRunner
    from c2t.runtime.generation.sequence import FixedCells, GeneratedSequence, PromptedCell

    generation = replace(
        bundle.manifest.generation,
        max_new_tokens=GENERATED,
        no_repeat_ngram_size=3,
        eos_token_ids=(),
    )
    prompts = PromptRunner(engines.decoder, bundle.manifest.prompt)
    capacity = prompts.length(len(vectors)) + GENERATED + 32

    def write(captions: list[list[int]]) -> tuple[GeneratedSequence, float]:
        times = []
        for _ in range(4):  # the first ones capture CUDA graphs
            drafter = Drafter(build_phrase_table(captions)) if captions else None
            search = GreedySearch(
                engines.decoder,
                prompts,
                generation=generation,
                slots=1,
                capacity=capacity,
                drafter=drafter,
            )
            since = perf_counter()
            ((_, text),) = search.run(FixedCells([PromptedCell(0, vectors)]))
            times.append(perf_counter() - since)
            if not isinstance(text, GeneratedSequence):
                raise SystemExit(text.error)
        return text, float(np.median(times[1:]))

    plain, seconds = write([])
    text = list(plain.token_ids)
    wrong = [token + (number % 10 == 9) for number, token in enumerate(text)]
    found: dict[str, Any] = {"no drafts": {"seconds": seconds, "steps": plain.steps}}
    for name, captions in (("every draft right", [text]), ("one in ten wrong", [wrong])):
        result, seconds = write(captions)
        found[name] = {
            "seconds": seconds,
            "steps": result.steps,
            "same text": result.token_ids == plain.token_ids,
        }
    return found


def read_bandwidth() -> float:
    """Bytes a second that the GPU's memory moves, by copies on the device (read and written)."""
    from cuda.bindings import driver

    from c2t.kernels.cuda.device import CudaDevice
    from c2t.kernels.cuda.memory import DeviceArray

    device = CudaDevice()
    source, target = (DeviceArray.zeros((COPY_BYTES,), np.uint8) for _ in range(2))
    seconds = device_seconds(
        device,
        lambda: driver.cuMemcpyDtoDAsync(target.pointer, source.pointer, COPY_BYTES, device.handle),
    )
    return 2 * COPY_BYTES / seconds


def device_seconds(device: Any, run: Callable[[], Any]) -> float:
    """Median of repeats, by events on the device's stream, after a warm-up."""
    from cuda.bindings import driver

    begin, end = driver.cuEventCreate(0)[1], driver.cuEventCreate(0)[1]
    times = []
    for repeat in range(STEPS + 8):
        driver.cuEventRecord(begin, device.handle)
        run()
        driver.cuEventRecord(end, device.handle)
        driver.cuEventSynchronize(end)
        if repeat >= 8:
            times.append(driver.cuEventElapsedTime(begin, end)[1] / 1e3)
    return float(np.median(times))
