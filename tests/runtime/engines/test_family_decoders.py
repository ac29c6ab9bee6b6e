"""Every family of decoders on our kernel: ONNX Runtime's numbers and texts, in float32 and INT8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quantised_decoders import quantised
from tiny_data import FAMILY_DECODERS, TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import EngineOptions, KeyValueCache
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.generation.sequence import GeneratedSequence

USED = "every step is one kernel"
LOGITS = 1e-4  # of float32
OPTIONS = EngineOptions(threads=2)
GENERATION = Generation(
    max_new_tokens=30, no_repeat_ngram_size=2, eos_token_ids=tuple(range(4, 16))
)
pytestmark = pytest.mark.skipif(step_kernels() is None, reason="no step of ours runs here")


@pytest.fixture(params=FAMILY_DECODERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["float32", "int8"])
def decoder(request: pytest.FixtureRequest, family: str, tmp_path: Path) -> TinyDecoder:
    """One whose steps are the kernel's."""
    tiny = tiny_decoder(family)
    path = quantised(tiny.path, tmp_path) if request.param == "int8" else tiny.path
    engine, steps = open_decoder(path, tiny.engine.sizes, tiny.table, OPTIONS)
    assert steps == USED
    return replace(tiny, engine=engine, path=path)


def library(decoder: TinyDecoder) -> OnnxRuntimeDecoder:
    """The same decoder on ONNX Runtime."""
    return OnnxRuntimeDecoder(decoder.path, decoder.engine.sizes, decoder.table, OPTIONS)


def run(
    engine: OnnxRuntimeDecoder, cache: KeyValueCache, rows: np.ndarray, at: list[int]
) -> np.ndarray:
    """Logits of rows [B, T, D] at these cache positions [B]."""
    batch, tokens, _ = rows.shape
    step = engine.bind(cache, (0, batch), tokens, tokens)
    step.inputs_embeds[...] = rows
    step.token_ids[...] = -1
    step.write_index[...] = at
    step.position_ids[...] = np.array(at)[:, None] + np.arange(tokens)
    step.logit_rows[...] = np.arange(tokens)
    return step.run().copy()


def check(decoder: TinyDecoder, found: np.ndarray, expected: np.ndarray) -> None:
    if decoder.path == FAMILY_DECODERS[decoder.name] / "decoder.onnx":
        assert np.abs(found - expected).max() <= LOGITS
    else:  # a float that is rounded otherwise moves an activation by a whole step
        assert np.abs(found - expected).mean() <= 0.01 * np.abs(expected).mean()


@pytest.mark.parametrize("prompt", [5, 24, 25, 300])
def test_prompts_steps_and_drafts(decoder: TinyDecoder, prompt: int) -> None:
    """The windows see 24 positions."""
    theirs = library(decoder)
    rows = random_vectors(0, count=prompt + 22)[None]
    caches = decoder.engine.new_cache(1, prompt + 22), theirs.new_cache(1, prompt + 22)
    for begin, end in ((0, prompt), (prompt, prompt + 1), (prompt + 1, prompt + 22)):
        found, expected = (
            run(engine, cache, rows[:, begin:end], [begin])
            for engine, cache in zip((decoder.engine, theirs), caches, strict=True)
        )
        check(decoder, found, expected)


def test_cells_of_different_lengths_side_by_side(decoder: TinyDecoder) -> None:
    theirs = library(decoder)
    caches = decoder.engine.new_cache(3, 60), theirs.new_cache(3, 60)
    at = [0, 0, 0]
    for tokens, lengths in ((40, [40, 7, 23]), (1, [1, 1, 1]), (9, [9, 2, 5])):
        # Shorter cells are padded; what padding wrote is written over by the next step.
        rows = random_vectors(tokens, count=3 * tokens).reshape(3, tokens, -1)
        found, expected = (
            run(engine, cache, rows, at)
            for engine, cache in zip((decoder.engine, theirs), caches, strict=True)
        )
        for row, length in enumerate(lengths):
            check(decoder, found[row, :length], expected[row, :length])
        at = [place + length for place, length in zip(at, lengths, strict=True)]


def texts(
    decoder: TinyDecoder, engine: OnnxRuntimeDecoder, *, rows: int, drafter: Drafter | None = None
) -> list[tuple[int, ...]]:
    search = GreedySearch(
        engine,
        decoder.runner(engine),
        generation=GENERATION,
        rows=rows,
        capacity=120,
        drafter=drafter,
    )
    done = dict(search.run(decoder.cells(random_vectors(seed, seed + 3) for seed in range(8))))
    found = [done[seed] for seed in range(8)]
    assert all(isinstance(text, GeneratedSequence) for text in found)
    return [tuple(text.token_ids) for text in found if isinstance(text, GeneratedSequence)]


def test_texts_whatever_the_batch_and_the_draft(family: str) -> None:
    tiny = tiny_decoder(family)
    engine, _ = open_decoder(tiny.path, tiny.engine.sizes, tiny.table, OPTIONS)
    expected = texts(tiny, tiny.engine, rows=1)
    assert len(set(expected)) > 1
    drafter = Drafter(build_phrase_table([list(text) for text in expected] * 5))
    for rows in (1, 3):
        for drafts in (None, drafter):
            assert texts(tiny, engine, rows=rows, drafter=drafts) == expected


def test_beams(family: str) -> None:
    tiny = tiny_decoder(family)
    engine, _ = open_decoder(tiny.path, tiny.engine.sizes, tiny.table, OPTIONS)
    beamed = replace(GENERATION, num_beams=3)
    for seed in range(3):
        vectors = random_vectors(seed, count=30)
        found = []
        for one in (engine, tiny.engine):
            search = BeamSearch(one, tiny.runner(one), generation=beamed, capacity=80)
            ((_, text),) = search.run(tiny.cells([vectors]))
            found.append(tuple(text.token_ids))
        assert found[0] == found[1]


def test_neither_batch_nor_draft_changes_a_bit(decoder: TinyDecoder) -> None:
    rows = random_vectors(1, count=120).reshape(3, 40, -1)
    cache = decoder.engine.new_cache(3, 40)
    together = run(decoder.engine, cache, rows, [0, 0, 0])
    for row in range(3):
        alone = decoder.engine.new_cache(1, 40)
        for begin, end in ((0, 5), (5, 6), (6, 31), (31, 40)):
            found = run(decoder.engine, alone, rows[row : row + 1, begin:end], [begin])
            np.testing.assert_array_equal(found[0], together[row, begin:end])
