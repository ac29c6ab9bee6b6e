"""A part of gpu_engines.py: the kernel of short steps, checked, and its time taken apart.

Where the time goes is found by leaving something out of the source, and by clocks at the places
where the blocks wait for each other: copies of the sources, edited, lie in the scratch folder.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gpu_decoder import bind_step, random_vectors, read_bandwidth, step_times

SOURCE = "decoder_step/decoder_step.cu"
PARTS_OF_LAYER = ("queries, keys, values", "output", "gate and up", "down")
STREAM = "decoder_step/weight_stream.cuh"
# What is left out: the file, the text in it, and what it becomes. Without copies the rings hold
# what they held: what is left is what the kernel computes and waits for by itself.
WITHOUT = {
    "waiting": (
        SOURCE,
        (
            "        while (load_acquire(s.counters + counter * COUNTER_STRIDE) < count) {\n"
            "        }\n"
        ),
        "",
    ),
    "attention": (
        SOURCE,
        "attend_all(s, of_rows, keys, values, exchange_floats, first_item, qkv_written);",
        "wait_for_signals(s, QKV_WRITTEN, qkv_written);",
    ),
    "copies": (STREAM, "        if (left > 0) {\n", "        if (left < -(1 << 30)) {\n"),
}
# Nanoseconds of a finishing thread at four places of a layer's matrix, behind the logits.
STAMP = (
    "{{ if (threadIdx.x == STREAM_THREADS) {{ unsigned long long now; "
    'asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now) :: "memory"); '
    "((unsigned long long*)(s.logits + 16 * C2T_VOCABULARY_SIZE))"
    "[(blockIdx.x * {numbers} + {number}) * 4 + {place}] = now; }} }}\n"
)
BEGUN, FINISHED, ATTENDING, ATTENDED = range(4)
BEGIN = "        wait_for_signals(s, INPUT_WRITTEN, input_signals);\n"
FINISH = "        signal(s, linear == QKV ? QKV_WRITTEN : INPUT_WRITTEN);\n"
ATTEND = "    wait_for_signals(s, QKV_WRITTEN, qkv_written);\n"
ATTEND_END = "qkv_written);\n                signal(s, INPUT_WRITTEN);\n"


def step_kernel(options: argparse.Namespace, note: Callable[..., None]) -> None:
    """Logits, repeats and rows compared; times by rows, by rings, without some of it, by phase."""
    from c2t.kernels.decoder_step import sizes as step_sizes
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.engine_protocol import EngineOptions
    from c2t.runtime.engines.gpu.open import open_onnxruntime_engines
    from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph
    from c2t.runtime.generation.prompt import PromptRunner

    bundle = open_bundle(options.scratch / "bundle", verify=False)
    graphs = options.scratch / "float16"
    engines = open_onnxruntime_engines(bundle, EngineOptions(graphs=graphs))
    decoder: Any = engines.decoder
    ours = decoder.graph
    if not isinstance(ours, DecoderStepGraph):
        note(**{"not executed": engines.label})
        return
    sizes = bundle.manifest.decoder
    vectors = random_vectors(bundle)
    prompts = PromptRunner(decoder, bundle.manifest.prompt)
    length = prompts.length(len(vectors))
    cache = decoder.new_cache(1, length + 64)
    prompts.prefill(cache, 0, vectors)

    def logits(graph: Any, tokens: int, place: int = 0) -> np.ndarray:
        """Logits of the tokens from `place` on of one and the same text."""
        decoder.graph = graph
        cache.steps.clear()
        step = bind_step(decoder, cache, tokens, length + place)
        step.token_ids[0] += place
        found: np.ndarray = step.run().copy()
        return found

    # Each token behind those before it, whose keys and values the last of these steps has left.
    alone = [logits(ours, 1, place) for place in range(16)]
    for tokens in (1, 4, 16):
        library, first, again = (logits(g, tokens) for g in (ours.library, ours, ours))
        difference = float(np.abs(library - first).max() / np.abs(library).max())
        checks = {
            "difference": difference,
            "repeats": bool(np.array_equal(first, again)),
            "rows_as_alone": all(
                np.array_equal(first[0, i], alone[i][0, 0]) for i in range(tokens)
            ),
        }
        note(**{f"{tokens} tokens against the library": checks})

    bandwidth = read_bandwidth()
    floor = ours.weights.packed.nbytes / bandwidth
    note(copy_bytes_per_second=bandwidth, floor_seconds=floor)

    def times(tokens: int) -> dict[str, float]:
        decoder.graph = ours
        cache.steps.clear()
        step = bind_step(decoder, cache, tokens, length)
        return step_times(decoder, step, tokens, floor)

    for tokens in (1, 2, 4, 8, 16):
        note(**{f"{tokens} tokens": times(tokens)})
    most = step_sizes.MAX_RING_TILES
    for tiles in (most // 2, 2 * most // 3):
        step_sizes.MAX_RING_TILES = tiles
        note(**{f"rings of {tiles} tiles": times(1)})
    step_sizes.MAX_RING_TILES = most
    for name, edit in WITHOUT.items():
        with edited_source(decoder.device, options.scratch, [edit]):
            note(**{f"without {name}": times(1)})
    for names in (("waiting", "attention"), ("waiting", "attention", "copies")):
        with edited_source(decoder.device, options.scratch, [WITHOUT[n] for n in names]):
            note(**{f"without {', '.join(names)}": times(1)})
    note(microseconds_by_phase=phases(decoder, options.scratch, sizes, lambda: times(1)))


@contextmanager
def edited_source(device: Any, scratch: Path, edits: list[tuple[str, str, str]]) -> Iterator[None]:
    """Let kernels be compiled from a copy of the sources with some texts replaced."""
    from c2t.kernels.cuda import compile as cuda_compile

    sources, copy = cuda_compile.SOURCES, scratch / "sources"
    shutil.rmtree(copy, ignore_errors=True)
    for file in sources.glob("*/*.cu*"):
        target = copy / file.relative_to(sources)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for file, old, new in edits:
        text = (copy / file).read_text()
        if text.count(old) != 1:
            message = f"{file} no longer has once: {old!r}"
            raise SystemExit(message)
        (copy / file).write_text(text.replace(old, new))
    cuda_compile.SOURCES = copy
    device._kernels.clear()
    try:
        yield
    finally:
        cuda_compile.SOURCES = sources
        device._kernels.clear()


def stamps_of(numbers: int) -> list[tuple[str, str, str]]:
    """Edits that write the time at four places of each of so many matrices."""

    def stamp(place: int, number: str = "number") -> str:
        return STAMP.format(numbers=numbers, number=number, place=place)

    layer = "(qkv_written / C2T_BLOCKS - 1) * 4"
    return [
        (SOURCE, BEGIN, BEGIN + stamp(BEGUN)),
        (SOURCE, FINISH, stamp(FINISHED) + FINISH),
        (SOURCE, ATTEND, ATTEND + stamp(ATTENDING, layer)),
        (SOURCE, ATTEND_END, ATTEND_END + stamp(ATTENDED)),
    ]


def phases(decoder: Any, scratch: Path, sizes: Any, run: Callable[[], Any]) -> dict[str, Any]:
    """Mean microseconds of work and of waiting by part of a layer: of all blocks, and the most."""
    from c2t.kernels.cuda.memory import download

    blocks, numbers = decoder.device.multiprocessors, 4 * sizes.layers + 1
    logits = 64 * sizes.vocabulary_size
    decoder.logits.address(logits + 32 * blocks * numbers)
    with edited_source(decoder.device, scratch, stamps_of(numbers)):
        run()
    place = decoder.logits.address(logits) + logits
    stamps = download(place, (blocks, numbers, 4), np.int64) / 1e3
    # What blocks that do not attend hold there is no time of this layer.
    attended = stamps[:, 0, ATTENDED]
    attends = (attended > stamps[:, 0, BEGUN]) & (attended <= stamps[:, 1, BEGUN])
    found = {}
    for part, name in enumerate(PARTS_OF_LAYER):
        mine = stamps[:, part:-1:4]
        begun, finished = mine[..., BEGUN], mine[..., FINISHED]
        after = stamps[:, part + 1 :: 4, BEGUN]
        found[name] = spans(finished - begun, after - finished)
        if part == 0:
            mine, begun = mine[attends], mine[attends][..., ATTENDING]
            found["attention"] = spans(mine[..., ATTENDED] - begun, after[attends] - begun)
    return found


def spans(work: np.ndarray, rest: np.ndarray) -> dict[str, float]:
    """Means over layers: of all blocks' work, of the block with the most, of what follows."""
    return {
        "work": round(float(work.mean()), 2),
        "most work": round(float(work.max(axis=0).mean()), 2),
        "until the next part": round(float(rest.mean()), 2),
    }
