"""A part of gpu_engines.py: the kernel of short steps, checked, then its time taken apart.

Two ways show where the time goes: something is left out of the kernel, and clocks are read where
its blocks wait for each other. Both edit a copy of the sources, in the scratch folder.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gpu_checks import bind_step, check_rows_of_the_step_kernel, check_step_kernel
from gpu_decoder import random_vectors, step_times
from gpu_timing import copy_bandwidth

from c2t.kernels.cuda import compile as cuda_compile
from c2t.kernels.cuda.memory import download
from c2t.kernels.decoder_step import layout as step_layout
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.gpu.open import open_onnxruntime_engines
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph
from c2t.runtime.generation.bundle_prompts import bundle_prompts

SOURCE = "decoder_step/decoder_step.cu"
PARTS_OF_LAYER = ("queries, keys, values", "output", "gate and up", "down")
STREAM = "decoder_step/weight_stream.cuh"
# What can be left out: the file, the text in it, and its replacement. Without copies the rings keep
# their old contents: the time left is that of computing and of waiting.
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
        "attend_all(s, of_rows, keys, values, shared.exchange, layer, first_item, qkv_written);",
        "wait_for_signals(s, QKV_WRITTEN, qkv_written);",
    ),
    "copies": (STREAM, "        if (left > 0) {\n", "        if (left < -(1 << 30)) {\n"),
}
# Each matrix of a layer gets four times in nanoseconds, by a finishing thread; they are written
# after the logits.
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


def take_step_apart(
    options: argparse.Namespace, note: Callable[..., None], *, int8: bool = False
) -> None:
    """Check the kernel, then time it by rows, by rings, without parts of it, and by phase."""
    bundle = open_bundle(options.scratch / ("bundle-int8" if int8 else "bundle"), verify=False)
    graphs = options.scratch / ("int8" if int8 else "float16")
    engines = open_onnxruntime_engines(bundle, EngineOptions(graphs=graphs))
    decoder: Any = engines.decoder
    kernel = decoder.graph
    if not isinstance(kernel, DecoderStepGraph):
        note(**{"not executed": engines.label})
        return
    vectors = random_vectors(bundle)
    check_step_kernel(decoder, bundle.manifest.prompt, vectors)
    check_rows_of_the_step_kernel(decoder, bundle.manifest.prompt, vectors)
    note(checked="logits, repeats, and tokens alone and among others")

    bandwidth = copy_bandwidth(decoder.device)
    floor = kernel.weights.packed.nbytes / bandwidth
    note(copy_bytes_per_second=bandwidth, floor_seconds=floor)
    prompts = bundle_prompts(bundle)
    cell = prompts.of_vectors(vectors)
    length = len(cell)
    cache = decoder.new_cache(1, length + step_layout.ROWS[-1])
    prompts.runner(decoder).prefill(cache, 0, cell)

    def times(tokens: int) -> dict[str, float]:
        cache.steps.clear()  # a kernel that is compiled anew is bound anew
        step = bind_step(decoder, cache, tokens, length)
        return step_times(decoder, step, floor)

    for tokens in (1, 2, 4, *(rows for rows in step_layout.ROWS if rows <= kernel.rows)):
        note(**{f"{tokens} tokens": times(tokens)})
    most = step_layout.MAX_RING_TILES
    for tiles in (most // 2, 2 * most // 3):
        step_layout.MAX_RING_TILES = tiles
        note(**{f"rings of {tiles} tiles": times(1)})
    step_layout.MAX_RING_TILES = most
    for names in (
        *((name,) for name in WITHOUT),
        ("waiting", "attention"),
        ("waiting", "attention", "copies"),
    ):
        with edited_source(decoder.device, options.scratch, [WITHOUT[name] for name in names]):
            note(**{f"without {', '.join(names)}": times(1)})
    sizes = bundle.manifest.decoder
    note(microseconds_by_phase=phases(decoder, options.scratch, sizes, lambda: times(1)))


@contextmanager
def edited_source(device: Any, scratch: Path, edits: list[tuple[str, str, str]]) -> Iterator[None]:
    """Compile kernels from a copy of the sources, with some texts replaced."""
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
    """Edits that write the time at four places of each of `numbers` matrices."""

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
    """Mean microseconds of work and of waiting, by part of a layer; see `spans`."""
    blocks, numbers = decoder.device.multiprocessors, 4 * sizes.layers + 1
    logits = 64 * sizes.vocabulary_size
    decoder.logits.address(logits + 32 * blocks * numbers)
    with edited_source(decoder.device, scratch, stamps_of(numbers)):
        run()
    place = decoder.logits.address(logits) + logits
    stamps = download(place, (blocks, numbers, 4), np.int64) / 1e3
    # Blocks without attention have an old value there, from before this layer.
    attended = stamps[:, 0, ATTENDED]
    attends = (attended > stamps[:, 0, BEGUN]) & (attended <= stamps[:, 1, BEGUN])
    times = {}
    for part, name in enumerate(PARTS_OF_LAYER):
        mine = stamps[:, part:-1:4]
        begun, finished = mine[..., BEGUN], mine[..., FINISHED]
        after = stamps[:, part + 1 :: 4, BEGUN]
        times[name] = spans(finished - begun, after - finished)
        if part == 0:
            mine, begun = mine[attends], mine[attends][..., ATTENDING]
            times["attention"] = spans(mine[..., ATTENDED] - begun, after[attends] - begun)
    return times


def spans(work: np.ndarray, rest: np.ndarray) -> dict[str, float]:
    """Means over layers: work of all blocks, work of the slowest block, and the time after it."""
    return {
        "work": round(float(work.mean()), 2),
        "most work": round(float(work.max(axis=0).mean()), 2),
        "until the next part": round(float(rest.mean()), 2),
    }
