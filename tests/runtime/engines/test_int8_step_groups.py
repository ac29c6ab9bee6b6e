"""Steps and prompts of more rows than the int8 step kernel takes: no number depends on the groups.

The kernel itself, emulated. Each cell of a step gives the bits, in logits and in the cache, that it
gives alone. With linears in float16 among them, the kernel takes 16 rows: such decoders stand in
for the others where 64 rows would take long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulation.device import EmulatedSteps
from fakes.cuda_driver import FakeDriver
from fakes.step_kernel import Library
from quantised_decoders import quantised
from tiny_data import DECODERS, TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.cuda.memory import DeviceArray
from c2t.kernels.decoder_step.launch import StepArguments, launch_decoder_step
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import NO_TOKEN
from c2t.runtime.engines.gpu import step_kernel
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.engines.gpu.step_kernel import DecoderStepGraph, with_step_kernel
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import GeneratedSequence
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import EngineError

GENERATION = Generation(max_new_tokens=5, no_repeat_ngram_size=2, eos_token_ids=(4, 8, 15))
CAPACITY = 200
Open = Callable[..., tuple[DeviceDecoder, Library]]


@pytest.fixture(scope="module")
def tiny() -> TinyDecoder:
    return tiny_decoder("sure")


@pytest.fixture
def opened(
    tiny: TinyDecoder, tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens the decoder, whose every `every`-th linear is in int8, and what opens the library's."""
    monkeypatch.setattr(DecoderStepGraph, "check", lambda *_: None)  # it would take most of a test

    def open_decoder(every: int = 1) -> tuple[Any, Library]:
        source = quantised(
            DECODERS["sure"] / "decoder.onnx", tmp_path, lambda number: number % every == 0
        )
        half = tmp_path / "half"
        half.mkdir(exist_ok=True)
        write_half_precision(source, half / "decoder.onnx", widen=True)
        library, sizes = Library(half), tiny.engine.sizes
        device = EmulatedSteps(multiprocessors=1)
        made, said = with_step_kernel(library, device, half, sizes, cuda_graph=True, source=source)
        assert isinstance(made, DecoderStepGraph), said
        assert made.rows == (64 if every == 1 else 16)
        made.batch_tokens = 400
        table = upload_token_table(tiny.table, "float16")
        return DeviceDecoder(device, made, sizes, table), library

    return open_decoder


def run(
    decoder: DeviceDecoder, past: np.ndarray, ids: np.ndarray, begins: np.ndarray, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B,wanted,V] of tokens [B,T] behind `begins` [B] of a cache, and the new cache."""
    batch, tokens = ids.shape
    cache = decoder.new_cache(batch, CAPACITY)
    cache.buffer = DeviceArray.upload(past)
    step = decoder.bind(cache, (0, batch), tokens, wanted)
    step.token_ids[:] = ids
    step.write_index[:] = begins
    step.position_ids[:] = begins[:, None] + np.arange(tokens)
    step.logit_rows[:] = np.arange(tokens - wanted, tokens)
    return step.run().copy(), cache.buffer.download()


@pytest.mark.parametrize(
    ("batch", "tokens", "wanted", "every"),
    [
        (65, 1, 1, 1),
        (256, 1, 1, 1),
        (13, 5, 5, 1),
        pytest.param(2, 65, 65, 1, marks=pytest.mark.slow),
        (1, 66, 5, 1),  # logits of two parts
        pytest.param(2, 150, 30, 1, marks=pytest.mark.slow),
        (20, 1, 1, 3),
        (3, 10, 2, 3),
        (2, 40, 20, 3),
    ],
)
def test_cells_of_a_step_are_as_each_alone(
    opened: Open, tiny: TinyDecoder, batch: int, tokens: int, wanted: int, every: int
) -> None:
    """And alone, at most 3 tokens at a time."""
    decoder, library = opened(every)
    draw = np.random.default_rng(batch)
    past = np.zeros(decoder.new_cache(batch, CAPACITY).buffer.shape, np.float16)
    past[..., :40, :] = draw.normal(size=past[..., :40, :].shape)
    ids = draw.integers(0, len(tiny.table), (batch, tokens))
    begins = draw.integers(0, 40, batch)
    logits, cache = run(decoder, past, ids, begins, wanted)
    for cell in {0, batch // 2, batch - 1}:
        alone, begin = past[:, :, cell : cell + 1], begins[cell : cell + 1]
        expected = []
        for place in range(0, tokens, 3):
            some = ids[cell : cell + 1, place : place + 3]
            found, alone = run(decoder, alone, some, begin + place, some.shape[1])
            expected.append(found[0])
        assert logits[cell].tobytes() == np.concatenate(expected)[-wanted:].tobytes()
        assert cache[:, :, cell].tobytes() == alone[:, :, 0].tobytes()
    assert library.opened == []


def greedy(
    decoder: DeviceDecoder,
    tiny: TinyDecoder,
    lengths: list[int],
    *,
    rows: int,
    captions: list[list[int]] | None = None,
) -> list[tuple[Any, Any]]:
    """Tokens and probabilities of cells with so many vectors, `rows` at a time."""
    vectors = [random_vectors(seed, count=length) for seed, length in enumerate(lengths)]
    search = GreedySearch(
        decoder,
        tiny.runner(decoder),
        generation=GENERATION,
        rows=rows,
        capacity=CAPACITY,
        drafter=Drafter(build_phrase_table(captions)) if captions else None,
    )
    found = dict(search.run(tiny.cells(vectors)))
    assert all(isinstance(text, GeneratedSequence) for text in found.values())
    return [(found[n].token_ids, found[n].probabilities) for n in range(len(lengths))]


def test_texts_do_not_depend_on_the_batch(
    opened: Open, tiny: TinyDecoder, driver: FakeDriver
) -> None:
    """Where a step has more rows than a group of 16; prompts too, of cells together and of one."""
    lengths = [25, *[1] * 17]
    decoder, library = opened(3)
    together = greedy(decoder, tiny, lengths, rows=18)
    assert driver.launches > 0  # all groups of a step are recorded together
    assert greedy(decoder, tiny, lengths[:4], rows=1) == together[:4]
    assert len({tokens for tokens, _ in together}) > 10
    assert library.opened == []


@pytest.mark.slow
def test_texts_of_a_batch_of_128_cells(opened: Open, tiny: TinyDecoder) -> None:
    lengths = [1] * 100 + [3] * 26 + [70] * 4
    decoder, library = opened()
    together = greedy(decoder, tiny, lengths, rows=128)
    assert greedy(decoder, tiny, lengths, rows=3) == together
    assert greedy(decoder, tiny, lengths[:20], rows=1) == together[:20]
    assert len({tokens for tokens, _ in together}) > 50
    assert library.opened == []


def test_texts_do_not_depend_on_drafts(opened: Open, tiny: TinyDecoder) -> None:
    """Right ones and wrong ones, of one cell, and of several in a step of more than 16 tokens."""
    lengths = [1, 1, 1, 15]
    decoder, library = opened(3)
    plain = greedy(decoder, tiny, lengths, rows=1)
    texts = [list(tokens) for tokens, _ in plain]
    wrong = [[token + (n % 3 == 2) for n, token in enumerate(text)] for text in texts]
    for rows in (1, 4):
        for captions in (texts, wrong):
            drafted = greedy(decoder, tiny, lengths, rows=rows, captions=captions)
            assert drafted == plain
    assert library.opened == []


def test_vectors_that_are_not_finite(opened: Open, tiny: TinyDecoder) -> None:
    """They reach the logits behind them, those of the next part, too, and no other cell's."""
    decoder, _ = opened(3)  # of 20 tokens, 16 are the first part
    cache = decoder.new_cache(2, CAPACITY)
    step = decoder.bind(cache, (0, 2), 20, 16)
    step.token_ids[:] = 7
    step.token_ids[0, 10] = NO_TOKEN
    step.inputs_embeds[0, 10] = np.inf
    step.write_index[:] = 0
    step.position_ids[:] = np.arange(20)
    step.logit_rows[:] = np.arange(4, 20)
    logits = step.run()
    assert np.isfinite(logits[0, :6]).all()
    assert np.isnan(logits[0, 6:]).all()
    assert np.isfinite(logits[1]).all()


def test_logits_of_other_tokens_of_a_long_run_are_refused(opened: Open) -> None:
    decoder, _ = opened()
    step = decoder.bind(decoder.new_cache(1, CAPACITY), (0, 1), 65, 2)
    step.token_ids[:] = 7
    step.position_ids[:] = np.arange(65)
    step.logit_rows[:] = [3, 64]
    with pytest.raises(ValueError, match="1 x 65 tokens: other logits are wanted"):
        step.run()
    step.logit_rows[:] = [63, 64]
    step.run()


def test_more_logits_than_tokens_and_rows_are_refused(opened: Open) -> None:
    decoder, _ = opened()
    with pytest.raises(EngineError, match="the step kernel: a step of 2 tokens of a cell, 65 of"):
        decoder.bind(decoder.new_cache(1, CAPACITY), (0, 1), 2, 65)


def test_a_kernel_that_puts_parts_of_a_text_elsewhere_is_not_used(
    tiny: TinyDecoder, tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is right for all steps of up to 16 tokens: only the divided text shows it."""

    def start(device: Any, weights: Any, scratch: Any, step: StepArguments) -> None:
        launch_decoder_step(device, weights, scratch, replace(step, first_token=0))

    monkeypatch.setattr(step_kernel, "launch_decoder_step", start)
    source = quantised(DECODERS["sure"] / "decoder.onnx", tmp_path, lambda number: number % 3 == 0)
    half = tmp_path / "half"
    half.mkdir()
    write_half_precision(source, half / "decoder.onnx", widen=True)
    library, device, sizes = Library(half), EmulatedSteps(), tiny.engine.sizes
    made, said = with_step_kernel(library, device, half, sizes, cuda_graph=True, source=source)
    assert [made] == library.opened
    assert said.startswith("short steps without our kernel: its logits are")
    assert said.endswith("from the CPU's, 24 tokens")
