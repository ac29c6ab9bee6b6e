"""The decoder on a device, its logic run on the host (see `host_cuda`), against the CPU engine."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from host_cuda import HostDevice, HostDriver, HostGraph, at
from tiny_decoder import TinyDecoder, make_decoder, random_vectors

from c2t.runtime.device_decoder import DeviceDecoder, DeviceStep
from c2t.runtime.device_engine import upload_token_table
from c2t.runtime.engine import DecoderEngine
from c2t.runtime.errors import EngineError
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import GeneratedSequence, PromptedCell
from c2t.runtime.manifest import Generation
from c2t.runtime.token_table import Int8Rows

GENERATION = Generation(max_new_tokens=20, no_repeat_ngram_size=2, eos_token_ids=(4, 8, 15))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decoder")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> TinyDecoder:
    return make_decoder(folder)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> HostDriver:
    driver = HostDriver()
    driver.install(monkeypatch)
    return driver


@pytest.fixture
def on_device(driver: HostDriver, decoder: TinyDecoder, folder: Path) -> DeviceDecoder:
    graph = HostGraph(folder / "decoder.onnx")
    table = upload_token_table(decoder.table, "float32")
    return DeviceDecoder(HostDevice(), graph, decoder.engine.sizes, table)


def greedy(
    engine: DecoderEngine, decoder: TinyDecoder, captions: list[list[int]], slots: int = 3
) -> list[GeneratedSequence]:
    vectors = [random_vectors(seed, count=1 + seed % 5) for seed in range(8)]
    prompts = PromptRunner(engine, decoder.prompt)
    drafter = Drafter(build_phrase_table(captions)) if captions else None
    search = GreedySearch(
        engine,
        prompts,
        generation=GENERATION,
        slots=slots,
        capacity=80,
        drafter=drafter,
    )
    found = dict(search.run(PromptedCell(i, v) for i, v in enumerate(vectors)))
    return [found[i] for i in range(len(vectors))]


@pytest.mark.parametrize("drafts", [False, True])
def test_texts_of_the_cpu_engine(
    decoder: TinyDecoder, on_device: DeviceDecoder, drafts: bool
) -> None:
    plain = greedy(decoder.engine, decoder, [])
    captions = [list(result.token_ids) for result in plain[:5]] if drafts else []
    expected = greedy(decoder.engine, decoder, captions)
    found = greedy(on_device, decoder, captions)
    assert [f.token_ids for f in found] == [p.token_ids for p in plain]
    assert [f.steps for f in found] == [e.steps for e in expected]
    assert sum(f.steps for f in found) < sum(p.steps for p in plain) or not drafts
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-5)


def test_beams_of_the_cpu_engine(decoder: TinyDecoder, on_device: DeviceDecoder) -> None:
    generation = replace(GENERATION, num_beams=3)
    results = []
    for engine in (decoder.engine, on_device):
        prompts = PromptRunner(engine, decoder.prompt)
        search = BeamSearch(engine, prompts, generation=generation, capacity=60)
        results.append(dict(search.run([PromptedCell(0, random_vectors(3))]))[0].token_ids)
    assert results[0] == results[1]


def test_rows_are_saved_loaded_and_moved(on_device: DeviceDecoder, decoder: TinyDecoder) -> None:
    cache, plain = on_device.new_cache(4, 6), decoder.engine.new_cache(4, 6)
    buffer = cache.buffer.download()
    assert buffer.shape == plain.buffer.shape
    assert not buffer.any()
    plain.buffer[:] = np.random.default_rng(0).standard_normal(plain.buffer.shape)
    memory = at(cache.buffer.pointer, plain.buffer.shape, "float32")
    memory[:] = plain.buffer
    for one in (cache, plain):
        one.load(0, one.save(2, 3))
    np.testing.assert_array_equal(memory, plain.buffer)
    for sources in ([1, 0, 3, 3], [0, 1, 2, 0], [0, 1, 2, 3], [3, 2, 1, 0]):
        for one in (cache, plain):
            one.gather(sources, 2, 5)
        np.testing.assert_array_equal(memory, plain.buffer)


def test_an_int8_table(decoder: TinyDecoder, folder: Path, driver: HostDriver) -> None:
    scale = np.abs(decoder.table).max(axis=1) / 127
    values = np.rint(decoder.table / scale[:, None]).astype(np.int8)
    table = Int8Rows(values, scale.astype(np.float32))
    graph = HostGraph(folder / "decoder.onnx")
    sizes = decoder.engine.sizes
    engine = DeviceDecoder(HostDevice(), graph, sizes, upload_token_table(table, "float32"))
    step = engine.bind(engine.new_cache(1, 4), (0, 1), 2, 1)
    fill(step, [7, 50])
    logits = step.run().copy()
    step = decoder.engine.bind(decoder.engine.new_cache(1, 4), (0, 1), 2, 1)
    fill(step, [-1, -1])
    step.inputs_embeds[0] = table[[7, 50]]
    np.testing.assert_allclose(logits, step.run(), atol=1e-5)


def test_bound_steps_are_kept_and_follow_the_logits(on_device: DeviceDecoder) -> None:
    cache = on_device.new_cache(2, 16)
    small = on_device.bind(cache, (0, 1), 1, 1)
    assert on_device.bind(cache, (0, 1), 1, 1) is small
    large = on_device.bind(cache, (0, 2), 8, 8)  # its logits need more memory
    again = on_device.bind(cache, (0, 1), 1, 1)
    assert again is not small
    assert on_device.bind(cache, (0, 2), 8, 8) is large


def test_full_memory_is_named(
    on_device: DeviceDecoder, driver: HostDriver, decoder: TinyDecoder
) -> None:
    before = driver.free
    driver.free = 10_000
    with pytest.raises(EngineError, match="keys and values of 8 cells x 100 tokens") as caught:
        on_device.new_cache(8, 100)
    assert "--batch-size" in caught.value.hint
    driver.free = before
    cache = on_device.new_cache(8, 100)
    driver.free = 10_000
    with pytest.raises(EngineError, match=r"cannot run 8 x 40 tokens.*GPU has no memory for"):
        on_device.bind(cache, (0, 8), 40, 40)


def test_a_token_outside_the_table_is_refused(on_device: DeviceDecoder) -> None:
    step = on_device.bind(on_device.new_cache(1, 4), (0, 1), 2, 1)
    fill(step, [7, 97])
    with pytest.raises(EngineError, match="text token 97 is not among the 97"):
        step.run()


def test_memory_is_given_back(driver: HostDriver, decoder: TinyDecoder, folder: Path) -> None:
    before = driver.free
    graph, table = HostGraph(folder / "decoder.onnx"), upload_token_table(decoder.table, "float32")
    engine = DeviceDecoder(HostDevice(), graph, decoder.engine.sizes, table)
    greedy(engine, decoder, [])
    assert driver.free < before
    del engine, graph, table
    gc.collect()
    assert driver.free == before


def fill(step: DeviceStep, ids: list[int]) -> None:
    step.token_ids[0] = ids
    step.position_ids[0] = range(len(ids))
    step.write_index[0] = 0
    step.logit_rows[0] = len(ids) - 1
