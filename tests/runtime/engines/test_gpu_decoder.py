"""The GPU decoder, run on host memory (`fakes.cuda_driver`), against the CPU engine."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.cuda_driver import STREAM, FakeDevice, FakeDriver, FakeGraph, at
from tiny_data import DECODERS, TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.tensors import Int8Rows
from c2t.runtime.engine_protocol import BoundStep, DecoderEngine
from c2t.runtime.engines.buffers import BoundSteps
from c2t.runtime.engines.gpu import step as device_step
from c2t.runtime.engines.gpu.cache import DeviceCache
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.engines.gpu.step import RECORDED_BANS
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.candidate_trie import CandidateTrie
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.generation.sequence import GeneratedSequence
from c2t.runtime.system.errors import EngineError

GENERATION = Generation(max_new_tokens=20, no_repeat_ngram_size=2, eos_token_ids=(4, 8, 15))


@pytest.fixture(scope="module")
def folder() -> Path:
    return DECODERS["sure"]


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder("sure")


@pytest.fixture
def on_device(driver: FakeDriver, decoder: TinyDecoder, folder: Path) -> DeviceDecoder:
    graph = FakeGraph(folder / "decoder.onnx")
    table = upload_token_table(decoder.table, "float32")
    return DeviceDecoder(FakeDevice(), graph, decoder.engine.sizes, table)


@pytest.fixture
def recording(driver: FakeDriver, decoder: TinyDecoder, folder: Path) -> DeviceDecoder:
    """A decoder whose graph may be recorded with what is around it."""
    graph = FakeGraph(folder / "decoder.onnx", recordable=True)
    table = upload_token_table(decoder.table, "float32")
    return DeviceDecoder(FakeDevice(), graph, decoder.engine.sizes, table)


def greedy(
    engine: DecoderEngine,
    decoder: TinyDecoder,
    captions: list[list[int]],
    rows: int = 3,
    generation: Generation = GENERATION,
) -> list[GeneratedSequence]:
    vectors = [random_vectors(seed, count=1 + seed % 5) for seed in range(8)]
    prompts = decoder.runner(engine)
    drafter = Drafter(build_phrase_table(captions)) if captions else None
    search = GreedySearch(
        engine,
        prompts,
        generation=generation,
        rows=rows,
        capacity=80,
        drafter=drafter,
    )
    found = dict(search.run(decoder.cells(vectors)))
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


def test_large_steps_share_the_memory_of_their_embeddings(
    on_device: DeviceDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_step, "OWN_EMBEDDINGS", 8)
    cache = on_device.new_cache(4, 16)
    small, large = on_device.bind(cache, (0, 4), 2, 1), on_device.bind(cache, (0, 3), 4, 1)
    for step in (small, large):
        step.token_ids[:] = 7
        step.position_ids[:] = step.logit_rows[:, :1] + np.arange(step.token_ids.shape[1])
    before = [step.run().copy() for step in (small, large)]
    other = on_device.bind(cache, (0, 3), 3, 1)
    assert other._embeds == large._embeds != small._embeds
    assert on_device.bind(cache, (0, 3), 4, 1) is large
    on_device.bind(cache, (0, 4), 8, 1)  # needs more of it
    again = on_device.bind(cache, (0, 3), 4, 1)
    assert again is not large
    assert on_device.bind(cache, (0, 4), 2, 1) is small
    again.token_ids[:] = 7
    again.position_ids[:] = again.logit_rows[:, :1] + np.arange(4)
    np.testing.assert_allclose(again.run(), before[1], rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_scores_of_the_cpu_engine(
    decoder: TinyDecoder, on_device: DeviceDecoder, rows: int
) -> None:
    draw = np.random.default_rng(0)
    trie = CandidateTrie((1, 2), [draw.integers(4, 8, draw.integers(1, 7)) for _ in range(20)])
    prompts = [decoder.prompts.of_vectors(random_vectors(seed, 1 + seed % 5)) for seed in range(4)]
    expected, found = (
        CandidateScorer(engine, decoder.runner(engine), rows=rows, capacity=40).score(prompts, trie)
        for engine in (decoder.engine, on_device)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_beams_of_the_cpu_engine(decoder: TinyDecoder, on_device: DeviceDecoder) -> None:
    generation = replace(GENERATION, num_beams=3)
    results = []
    for engine in (decoder.engine, on_device):
        prompts = decoder.runner(engine)
        search = BeamSearch(engine, prompts, generation=generation, capacity=60)
        results.append(dict(search.run(decoder.cells([random_vectors(3)])))[0].token_ids)
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
        one.load(3, one.save(1, 5), 2)
    np.testing.assert_array_equal(memory, plain.buffer)
    for sources in ([1, 0, 3, 3], [0, 1, 2, 0], [0, 1, 2, 3], [3, 2, 1, 0]):
        for one in (cache, plain):
            one.gather(sources, 2, 5)
        np.testing.assert_array_equal(memory, plain.buffer)


def test_keys_and_values_from_outside(on_device: DeviceDecoder, decoder: TinyDecoder) -> None:
    cache, plain = on_device.new_cache(3, 6), decoder.engine.new_cache(3, 6)
    memory = at(cache.buffer.pointer, plain.buffer.shape, "float32")
    shape = plain.buffer[:, :, 1, :, :4].shape
    given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for one in (cache, plain):
        one.put(1, given)
    np.testing.assert_array_equal(memory, plain.buffer)
    assert memory.any()


@pytest.mark.parametrize(("dtype", "held"), [("float16", np.float16), ("bfloat16", np.uint16)])
def test_keys_and_values_from_outside_are_rounded(
    decoder: TinyDecoder, driver: FakeDriver, dtype: str, held: type
) -> None:
    cache = DeviceCache(FakeDevice(), decoder.engine.sizes, dtype, 1, 2)
    given = np.full(decoder.engine.new_cache(1, 2).buffer[:, :, 0].shape, 1.003, np.float32)
    cache.put(0, given)
    found = at(cache.buffer.pointer, cache.buffer.shape, np.dtype(held).name)
    expected = np.float16(1.003) if dtype == "float16" else 0x3F80  # 1.0: the nearest bfloat16
    assert (found == expected).all()


def test_an_int8_table(decoder: TinyDecoder, folder: Path, driver: FakeDriver) -> None:
    scale = np.abs(decoder.table).max(axis=1) / 127
    values = np.rint(decoder.table / scale[:, None]).astype(np.int8)
    table = Int8Rows(values, scale.astype(np.float32))
    graph = FakeGraph(folder / "decoder.onnx")
    sizes = decoder.engine.sizes
    engine = DeviceDecoder(FakeDevice(), graph, sizes, upload_token_table(table, "float32"))
    step = engine.bind(engine.new_cache(1, 4), (0, 1), 2, 1)
    fill(step, [7, 50])
    logits = step.run().copy()
    step = decoder.engine.bind(decoder.engine.new_cache(1, 4), (0, 1), 2, 1)
    fill(step, [-1, -1])
    step.inputs_embeds[0] = table[[7, 50]]
    np.testing.assert_allclose(logits, step.run(), atol=1e-5)


def test_a_step_follows_the_logits_when_a_larger_step_moves_them(
    on_device: DeviceDecoder, decoder: TinyDecoder
) -> None:
    cache, plain = on_device.new_cache(2, 16), decoder.engine.new_cache(2, 16)
    for token in (7, 50):
        expected = chosen(decoder.engine.bind(plain, (0, 1), 1, 1), [token])
        assert chosen(on_device.bind(cache, (0, 1), 1, 1), [token]) == expected
        on_device.bind(cache, (0, 2), 8, 8)  # its logits need more memory


def test_full_memory_is_named(
    on_device: DeviceDecoder, driver: FakeDriver, decoder: TinyDecoder
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


def test_memory_is_given_back(driver: FakeDriver, decoder: TinyDecoder, folder: Path) -> None:
    before = driver.free
    graph, table = FakeGraph(folder / "decoder.onnx"), upload_token_table(decoder.table, "float32")
    engine = DeviceDecoder(FakeDevice(), graph, decoder.engine.sizes, table)
    greedy(engine, decoder, [])
    assert driver.free < before
    del engine, graph, table
    gc.collect()
    assert driver.free == before


@pytest.mark.parametrize("ngram", [0, 1, 2])
@pytest.mark.parametrize("drafts", [False, True])
def test_recorded_steps_give_the_texts_of_the_cpu_engine(
    decoder: TinyDecoder, recording: DeviceDecoder, driver: FakeDriver, drafts: bool, ngram: int
) -> None:
    """With an n-gram of 1, later steps have more bans than a recorded step has room for."""
    generation = replace(GENERATION, no_repeat_ngram_size=ngram)
    plain = greedy(decoder.engine, decoder, [], generation=generation)
    captions = [list(result.token_ids) for result in plain[:5]] if drafts else []
    expected = greedy(decoder.engine, decoder, captions, generation=generation)
    texts = greedy(recording, decoder, captions, generation=generation)
    assert [text.token_ids for text in texts] == [text.token_ids for text in plain]
    assert [text.steps for text in texts] == [text.steps for text in expected]
    for one, other in zip(texts, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-5)
    assert driver.launches > 0 or (drafts and ngram == 1)  # whose steps soon have many bans


def test_a_recorded_step_takes_the_tokens_and_bans_of_each_run(
    recording: DeviceDecoder, decoder: TinyDecoder, driver: FakeDriver
) -> None:
    step, plain = same_steps(recording, decoder.engine, 2)
    narrow = np.array([[[3, 5, -1]]], np.int32)
    for ids in ([7, 50], [1, 2], [90, 3], [7, 50]):
        assert chosen(step, ids, narrow) == chosen(plain, ids, narrow)
    assert driver.launches > 0
    # Bans of the run before are no bans of this one.
    most = np.full((1, 1, RECORDED_BANS), chosen(plain, [7, 50], narrow), np.int32)
    none = np.empty((1, 1, 0), np.int32)
    for bans in (most, none, np.concatenate((most, most), axis=2)):
        assert chosen(step, [7, 50], bans) == chosen(plain, [7, 50], bans)


def test_a_recorded_step_takes_embeddings_too(
    recording: DeviceDecoder, decoder: TinyDecoder
) -> None:
    step, plain = same_steps(recording, decoder.engine, 2)
    rows = random_vectors(1, count=2)
    for ids in ([7, 50], [1, 2], [-1, -1], [-1, 2], [7, 50]):
        for one in (step, plain):
            one.inputs_embeds[0] = rows
        assert chosen(step, ids) == chosen(plain, ids)


def test_cuda_graphs_are_freed_with_their_steps_and_cache(
    recording: DeviceDecoder, driver: FakeDriver
) -> None:
    cache = recording.new_cache(3, 16)
    cache.steps = BoundSteps(most=2)
    for row in range(3):
        step = recording.bind(cache, (row, row + 1), 1, 1)
        chosen(step, [7])
        chosen(step, [7])
    assert len(driver.executables) == 2
    step.close()
    assert len(driver.executables) == 1
    del cache, step
    gc.collect()
    assert driver.executables == {}


def test_a_recorded_step_whose_logits_moved_is_bound_anew(
    recording: DeviceDecoder, decoder: TinyDecoder, driver: FakeDriver
) -> None:
    cache, plain = recording.new_cache(2, 16), decoder.engine.new_cache(2, 16)
    small = recording.bind(cache, (0, 1), 1, 1)
    for token in (7, 50, 3):
        chosen(small, [token])
    (old,) = driver.executables
    recording.bind(cache, (0, 2), 8, 8)  # its logits need more memory
    again = recording.bind(cache, (0, 1), 1, 1)
    assert old not in driver.executables
    expected = decoder.engine.bind(plain, (0, 1), 1, 1)
    for token in (7, 50, 3):
        assert chosen(again, [token]) == chosen(expected, [token])


def test_a_step_that_fails_while_it_is_recorded_can_run_again(
    recording: DeviceDecoder, decoder: TinyDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, plain = same_steps(recording, decoder.engine, 1)
    chosen(step, [7])

    def fail(*_: object, **__: object) -> None:
        problem = "no more"
        raise KernelError(problem)

    with monkeypatch.context() as patch:
        patch.setattr(device_step, "launch_choose_tokens", fail)
        with pytest.raises(EngineError, match="decoder failed on 1 x 1 tokens: no more"):
            chosen(step, [50])
    assert STREAM.recorded is None
    for token in (50, 3, 7):
        assert chosen(step, [token]) == chosen(plain, [token])


def same_steps(one: DecoderEngine, other: DecoderEngine, tokens: int) -> tuple[BoundStep, ...]:
    """A step of one row and one place on either engine."""
    return tuple(e.bind(e.new_cache(1, 8), (0, 1), tokens, 1) for e in (one, other))


def chosen(step: BoundStep, ids: list[int], banned: np.ndarray | None = None) -> int:
    """The token that follows some."""
    fill(step, ids)
    if banned is None:
        banned = np.empty((1, 1, 0), np.int32)
    return int(step.choose(banned).tokens[0, 0])


def fill(step: BoundStep, ids: list[int]) -> None:
    step.token_ids[0] = ids
    step.position_ids[0] = range(len(ids))
    step.write_index[0] = 0
    step.logit_rows[0] = len(ids) - 1
