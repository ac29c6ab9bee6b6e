"""Steps of the CPU's decoder on our kernel: numbers, texts, and when it is not used."""

from __future__ import annotations

import itertools
import mmap
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from quantised_decoders import quantised
from tiny_data import DECODERS, TinyDecoder, random_vectors, tiny_decoder
from tolerance import FLOAT32, worst_difference

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.kernels.mapped import empty_pages
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import EngineOptions, KeyValueCache
from c2t.runtime.engines.cpu import kernel_step, session
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import GeneratedSequence
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

USED = "every step is one kernel"
EMPTY_PAGES = "c2t.runtime.engines.cpu.decoder.empty_pages"
OPTIONS = EngineOptions(threads=2)
GENERATION = Generation(
    max_new_tokens=24, no_repeat_ngram_size=2, eos_token_ids=tuple(range(4, 16))
)
needs_kernel = pytest.mark.skipif(step_kernels() is None, reason="no step of ours runs here")


def opened(path: Path | None = None, options: EngineOptions = OPTIONS) -> tuple[TinyDecoder, str]:
    """A decoder with our kernel, and who runs its steps."""
    tiny = tiny_decoder()
    path = path or tiny.path
    engine, steps = open_decoder(path, tiny.engine.sizes, tiny.table, options)
    return replace(tiny, engine=engine, path=path), steps


@pytest.fixture(params=["float32", "int8", "mixed"])
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> TinyDecoder:
    """A decoder whose steps are the kernel's."""
    path = None
    if request.param != "float32":
        source = DECODERS["sure"] / "decoder.onnx"
        path = quantised(
            source, tmp_path, lambda number: request.param == "int8" or number % 3 == 0
        )
    tiny, steps = opened(path)
    assert steps == USED
    return tiny


def run(
    engine: OnnxRuntimeDecoder,
    cache: KeyValueCache,
    rows: np.ndarray,
    first: int,
    wanted: int | None = None,
    row: int = 0,
) -> np.ndarray:
    """Logits of the last `wanted` of T rows at cache positions from `first` on."""
    length = len(rows)
    wanted = wanted or length
    step = engine.bind(cache, (row, row + 1), length, wanted)
    step.inputs_embeds[...] = rows
    step.token_ids[...] = -1
    step.position_ids[...] = np.arange(first, first + length)
    step.write_index[...] = first
    step.logit_rows[...] = np.arange(length - wanted, length)
    return step.run()[0].copy()


@needs_kernel
def test_logits_and_cache_are_those_of_onnx_runtime(decoder: TinyDecoder) -> None:
    library = OnnxRuntimeDecoder(decoder.path, decoder.engine.sizes, decoder.table, OPTIONS)
    rows = random_vectors(0, count=100)
    caches = decoder.engine.new_cache(2, 100), library.new_cache(2, 100)
    assert isinstance(decoder.engine.bind(caches[0], (0, 1), 7, 7), kernel_step.KernelStep)
    assert not isinstance(library.bind(caches[1], (0, 1), 7, 7), kernel_step.KernelStep)
    for begin, end in ((0, 7), (7, 8), (8, 50), (50, 100)):
        ours, theirs = (
            run(engine, cache, rows[begin:end], begin, row=1)
            for engine, cache in zip((decoder.engine, library), caches, strict=True)
        )
        if decoder.path == DECODERS["sure"] / "decoder.onnx":
            assert worst_difference(ours, theirs) <= 10 * FLOAT32
            assert worst_difference(caches[0].buffer, caches[1].buffer) <= 10 * FLOAT32
        else:
            assert np.abs(ours - theirs).mean() <= 0.01 * np.abs(theirs).mean()
    assert not caches[0].buffer[:, :, 0].any()


@needs_kernel
@pytest.mark.parametrize("prompt", [5, 60])
def test_a_draft_changes_no_bit(decoder: TinyDecoder, prompt: int) -> None:
    """Whether it stands behind a prompt or in a step of its own; not of the prompt either."""
    rows = random_vectors(0, count=prompt + 24)
    engine, cache = decoder.engine, decoder.engine.new_cache(1, prompt + 24)
    one_by_one = [run(engine, cache, rows[:prompt], 0, wanted=1)]
    behind = range(prompt, prompt + 24)
    one_by_one += [run(engine, cache, rows[at : at + 1], at) for at in behind]
    expected, filled = np.concatenate(one_by_one), cache.buffer.copy()
    for draft in (1, 9, 24):
        cache.buffer[...] = 0
        found = run(engine, cache, rows[: prompt + draft], 0, wanted=draft + 1)
        np.testing.assert_array_equal(found, expected[: draft + 1])
        np.testing.assert_array_equal(
            cache.buffer[..., : prompt + draft, :], filled[..., : prompt + draft, :]
        )
        again = run(engine, cache, rows[prompt : prompt + draft], prompt)
        np.testing.assert_array_equal(again, expected[1 : draft + 1])


@needs_kernel
def test_texts_and_probabilities_whatever_the_batch_and_the_draft() -> None:
    tiny, steps = opened()
    assert steps == USED
    seeds = range(10)
    references = [tiny.reference(seed, GENERATION) for seed in seeds]
    table = build_phrase_table(references * 5)
    found = []
    for rows, drafts in itertools.product((1, 2, 5), (False, True)):
        clock = StageClock()
        search = GreedySearch(
            tiny.engine,
            tiny.runner(),
            generation=GENERATION,
            rows=rows,
            capacity=100,
            drafter=Drafter(table) if drafts else None,
            clock=clock,
        )
        texts = dict(search.run(tiny.cells(random_vectors(s) for s in seeds)))
        assert all(isinstance(text, GeneratedSequence) for text in texts.values())
        found.append([(texts[seed].token_ids, texts[seed].probabilities) for seed in seeds])
        assert (clock.counts.get("accepted", 0) > 0) == drafts
    assert [list(tokens) for tokens, _ in found[0]] == references
    assert all(texts == found[0] for texts in found)


@needs_kernel
def test_a_step_outside_the_tables_or_the_cache_is_an_error() -> None:
    tiny, _ = opened()
    step = tiny.engine.bind(tiny.engine.new_cache(1, 8), (0, 1), 2, 1)
    step.token_ids[...] = 1
    step.position_ids[...] = tiny.engine.sizes.max_positions
    with pytest.raises(EngineError, match="a step of 2 tokens has a position outside 0 to "):
        step.run()
    step.position_ids[...] = 0
    step.write_index[...] = 7
    with pytest.raises(EngineError, match="has a cache position outside 0 to 6"):
        step.run()
    step.write_index[...] = 0
    step.logit_rows[...] = 2
    with pytest.raises(EngineError, match="has a logit row outside 0 to 1"):
        step.run()


@needs_kernel
def test_a_clone_has_buffers_of_its_own() -> None:
    tiny, _ = opened()
    other = tiny.engine.clone()
    rows = random_vectors(0, count=4)
    first = run(tiny.engine, tiny.engine.new_cache(1, 4), rows, 0)
    np.testing.assert_array_equal(run(other, other.new_cache(1, 4), rows, 0), first)
    assert other.logits is not tiny.engine.logits


def test_it_is_not_used_where_it_is_not_wanted() -> None:
    assert opened(options=replace(OPTIONS, step_kernel=False))[1] == ""
    steps = opened(options=replace(OPTIONS, prepack=False))[1]
    assert steps == "steps without our kernel: weights are not copied"


@needs_kernel
@pytest.mark.parametrize(
    ("free", "prepack", "used"),
    [
        (2.1, None, True),
        (1.9, None, False),
        (None, None, False),
        (0, True, True),
        (9, False, False),
    ],
)
def test_a_large_graph_is_copied_where_half_of_the_free_memory_holds_it(
    monkeypatch: pytest.MonkeyPatch, free: float | None, prepack: bool | None, used: bool
) -> None:
    """The copy is the only one."""
    data = DECODERS["sure"] / "decoder.onnx.data"
    monkeypatch.setattr(session, "PREPACK_BYTES", 0)
    of_data = None if free is None else int(free * data.stat().st_size)
    monkeypatch.setattr(kernel_step, "free_memory", lambda: of_data)
    steps = opened(options=replace(OPTIONS, prepack=prepack))[1]
    assert steps == (USED if used else "steps without our kernel: weights are not copied")


def test_it_is_not_used_on_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_step, "step_kernels", lambda: None)
    assert opened()[1] == "steps without our kernel: there is none for this processor"


@needs_kernel
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda logits: logits.fill(1), "of the median token"),
        (lambda logits: logits[:, -1].fill(np.nan), "nan% from ONNX Runtime's, of the median"),
        (lambda logits: logits[0, -1].__imul__(1.01), "1.00% from ONNX Runtime's, of the worst"),
    ],
)
def test_it_is_not_used_where_it_differs_from_onnx_runtime(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[np.ndarray], None], problem: str
) -> None:
    right = kernel_step.KernelStep.run_embedded

    def run_embedded(self: kernel_step.KernelStep) -> None:
        right(self)
        if self.tokens == max(kernel_step.CHECKED_TOKENS):
            spoil(self.logits)

    monkeypatch.setattr(kernel_step.KernelStep, "run_embedded", run_embedded)
    tiny, steps = opened()
    assert steps.startswith("steps without our kernel: its logits are ")
    assert problem in steps
    step = tiny.engine.bind(tiny.engine.new_cache(1, 8), (0, 1), 1, 1)
    assert not isinstance(step, kernel_step.KernelStep)


@needs_kernel
def test_it_is_not_used_for_a_graph_of_other_sizes() -> None:
    tiny = tiny_decoder()
    sizes = structs.replace(tiny.engine.sizes, heads=tiny.engine.sizes.heads * 2)
    _, steps = open_decoder(tiny.path, sizes, tiny.table, OPTIONS)
    assert steps == "steps without our kernel: the graph has heads 4, the manifest 8"


@needs_kernel
def test_it_is_not_used_for_a_decoder_that_it_does_not_know(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    source = DECODERS["sure"] / "decoder.onnx"
    model = onnx.load(source, load_external_data=False)
    *_, attention = (node for node in model.graph.node if node.op_type == "Attention")
    attention.attribute.append(onnx.helper.make_attribute("softcap", 30.0))
    path = tmp_path / "decoder.onnx"
    path.write_bytes(model.SerializeToString())
    shutil.copy(source.with_name("decoder.onnx.data"), tmp_path)
    problem = f"the decoder has {attention.name} (Attention), whose softcap is 30.0, not None"
    tiny = tiny_decoder()
    _, steps = open_decoder(path, tiny.engine.sizes, tiny.table, OPTIONS)
    assert steps == f"steps without our kernel: {problem}"


def test_it_is_not_used_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's session would do: neither packing nor the comparison may stop the opening."""

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    if step_kernels() is None:
        pytest.skip("no step of ours runs here")
    with monkeypatch.context() as patch:
        patch.setattr(kernel_step, "PackedDecoder", no_memory)
        tiny, steps = opened()
        assert steps == "steps without our kernel: no memory for its copy of the weights"
        assert tiny.engine.session is not None
    monkeypatch.setattr(kernel_step.CpuDecoderStep, "run_struct", no_memory)
    tiny, steps = opened()
    assert steps.startswith("steps without our kernel: decoder failed on 1 x 1 tokens")
    assert tiny.engine.session is not None


def test_batch_rows_that_a_cache_lacks_are_refused() -> None:
    tiny, _ = opened()
    with pytest.raises(ValueError, match="batch rows 1 to 2 of a cache of 2"):
        tiny.engine.bind(tiny.engine.new_cache(2, 8), (1, 3), 1, 1)


def test_no_memory_for_a_cache_is_an_error_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, _ = opened()

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(EMPTY_PAGES, no_memory)
    with pytest.raises(EngineError, match=r"no memory for .* cache positions of 2 cells"):
        tiny.engine.growing_cache(2, 100).make_room(100)


@needs_kernel
def test_a_cache_grows_where_its_whole_capacity_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a limit of the process's addresses refuses it, or Windows, which counts it as used."""
    tiny, _ = opened()
    whole = tiny.engine.growing_cache(1, 900)
    assert whole.buffer.shape[4] == 900

    def limited(size: int) -> mmap.mmap:
        if size >= whole.buffer.nbytes:
            raise MemoryError
        return empty_pages(size)

    with monkeypatch.context() as patch:
        patch.setattr(EMPTY_PAGES, limited)
        limits = tiny.engine.growing_cache(1, 900)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        windows = tiny.engine.growing_cache(1, 900)
    for cache in (limits, windows):
        assert cache.buffer.size == 0
        assert cache.capacity == 900
        for begin, end in ((0, 7), (7, 8), (8, 150)):
            rows = random_vectors(begin, count=end - begin)
            cache.make_room(end)
            np.testing.assert_array_equal(
                run(tiny.engine, cache, rows, begin), run(tiny.engine, whole, rows, begin)
            )
        assert cache.buffer.shape[4] == 256
