"""A cache whose batch rows share their beginning: it holds what a cache without that would."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from tiny_data import TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.runtime.engine_protocol import EngineOptions, SavedPrefix
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeCache
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.engines.cpu.sharing_cache import SharingCache
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner

ROWS, CAPACITY = 4, 24
KINDS = ("load", "put", "save", "gather", "step")
BEGINNING = (5, 9, 2, 7, 30, 31)
needs_kernel = pytest.mark.skipif(step_kernels() is None, reason="no step of ours runs here")


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    tiny = tiny_decoder()
    engine, said = open_decoder(tiny.path, tiny.engine.sizes, tiny.table, EngineOptions(threads=2))
    assert said == "every step is one kernel"
    return replace(tiny, engine=engine)


def contents(cache: SharingCache) -> np.ndarray:
    """What its batch rows hold, wherever it lies."""
    whole, sharing = cache.buffer.copy(), cache.sharing
    for row, length in enumerate(sharing.lengths):
        if sharing.prefix is not None:
            whole[:, :, row, :, :length] = sharing.prefix.keys_values[:, :, :, :length]
    return whole


@pytest.mark.parametrize("seed", range(30))
def test_it_holds_what_a_cache_without_sharing_would(seed: int) -> None:
    """Whatever is done to it, in whatever order."""
    sizes, draw = tiny_decoder().engine.sizes, np.random.default_rng(seed)
    plain = OnnxRuntimeCache(sizes, ROWS, CAPACITY, CAPACITY)
    sharing = SharingCache(sizes, ROWS, CAPACITY, CAPACITY)
    caches = plain, sharing

    def numbers(positions: int) -> np.ndarray:
        shape = (sizes.layers, 2, sizes.kv_heads, positions, sizes.head_size)
        return draw.normal(size=shape).astype(np.float32)

    prefixes = [SavedPrefix(length, numbers(length)) for length in (11, 6)]
    for number in range(40):
        row, kind = int(draw.integers(ROWS)), "load" if number == 0 else draw.choice(KINDS)
        if kind == "load":
            prefix = prefixes[int(draw.random() < 0.2)]
            length = None if draw.random() < 0.5 else int(draw.integers(1, prefix.length + 1))
            for cache in caches:
                cache.load(row, prefix, length)
        elif kind == "put":
            some = numbers(int(draw.integers(1, 13)))
            for cache in caches:
                cache.put(row, some)
        elif kind == "save":
            length = int(draw.integers(1, CAPACITY))
            first, second = (cache.save(row, length) for cache in caches)
            np.testing.assert_array_equal(first.state, second.state)
        elif kind == "gather":
            sources = draw.integers(0, ROWS, ROWS).tolist()
            start = int(draw.choice([0, draw.integers(CAPACITY)]))
            stop = int(draw.integers(CAPACITY + 1))
            for cache in caches:
                cache.gather(sources, start, stop)
        else:  # a step
            batch = int(draw.integers(1, ROWS - row + 1))
            at = draw.integers(0, CAPACITY - 2, batch)
            sharing.sharing.own_written(row, at)
            written = draw.normal(size=(sizes.layers, 2, sizes.kv_heads, 2, sizes.head_size))
            for place, start in enumerate(at, row):
                for cache in caches:
                    cache.buffer[:, :, place, :, start : start + 2] = written
        np.testing.assert_array_equal(contents(sharing), plain.buffer)


@needs_kernel
def test_a_shared_beginning_changes_no_bit(decoder: TinyDecoder) -> None:
    """Of prompts that have all of it, some and none, one behind the other in the same row."""
    engine = decoder.engine
    runner = PromptRunner(engine, BEGINNING)
    texts = [[*BEGINNING, 3, 4], [*BEGINNING[:3], 8, 8], [8, 9], [*BEGINNING, 11], [*BEGINNING[:4]]]
    shared, copied = engine.new_cache(3, 40), engine.new_cache(3, 40)
    assert isinstance(shared, SharingCache)
    assert isinstance(copied, SharingCache)
    copied.load(2, SavedPrefix(1, np.zeros_like(copied.save(0, 1).state)))  # it will share no other
    for number, ids in enumerate(texts * 2):
        row, prompt = number % 2, CellPrompt(np.array(ids, np.int32))
        first = runner.prefill(shared, row, prompt, opening=(12, 13)).copy()
        second = runner.prefill(copied, row, prompt, opening=(12, 13)).copy()
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(contents(shared)[:, :, :2], contents(copied)[:, :, :2])


@needs_kernel
def test_only_what_a_prompt_uses_of_a_beginning_needs_room(decoder: TinyDecoder) -> None:
    """A prompt that leaves a long beginning early, in a cache with fewer positions than that."""
    engine, short = decoder.engine, CellPrompt(np.array([*BEGINNING[:3], 8, 8], np.int32))
    runner = PromptRunner(engine, (*BEGINNING, *range(2, 30)))
    expected = PromptRunner(engine, ()).prefill(engine.new_cache(1, 6), 0, short).copy()
    cache = engine.new_cache(1, 6)
    np.testing.assert_array_equal(runner.prefill(cache, 0, short), expected)
    assert isinstance(cache, SharingCache)
    assert cache.sharing.lengths.tolist() == [3]


@needs_kernel
def test_a_cell_behind_vectors_reads_the_same_beginning(decoder: TinyDecoder) -> None:
    engine, runner = decoder.engine, PromptRunner(decoder.engine, BEGINNING)
    cache = engine.new_cache(2, 40)
    assert isinstance(cache, SharingCache)
    ids = np.array([*BEGINNING, -1, -1, 4], np.int32)
    for row in range(2):
        runner.prefill(cache, row, CellPrompt(ids, random_vectors(1, 2)))
    assert cache.sharing.lengths.tolist() == [len(BEGINNING)] * 2
    assert not cache.buffer[:, :, :, :, : len(BEGINNING)].any()  # nothing is there twice


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_what_is_shared_takes_memory_once(decoder: TinyDecoder) -> None:
    sizes = structs.replace(decoder.engine.sizes, layers=4, kv_heads=4, head_size=64)
    length = 2000
    state = np.ones((4, 2, 4, length, 64), np.float32)  # 16 MB
    before = resident()
    sharing = SharingCache(sizes, 8, 2048, 2048)
    for row in range(8):
        sharing.load(row, SavedPrefix(length, state))
    assert resident() - before < state.nbytes
    sharing.sharing.own(0, 0)
    assert resident() - before >= state.nbytes  # a copy is


def resident() -> int:
    """Bytes of this process that are no pages of files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return kilobytes << 10
