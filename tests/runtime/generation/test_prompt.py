"""Prompts on an engine: in pieces, behind a beginning that some share, with vectors anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import TinyDecoder, random_vectors, tiny_decoder

from c2t.runtime.bundle.constant_prefix import ConstantPrefix
from c2t.runtime.engine_protocol import NO_TOKEN
from c2t.runtime.generation import prompt as module
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner

NOISE = 1e-5
BEGINNING = (5, 9, 2, 7, 30, 31)


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder()


def whole(decoder: TinyDecoder, prompt: CellPrompt, following: tuple[int, ...] = ()) -> np.ndarray:
    """Logits [V] behind a prompt by one run: no beginning, no pieces."""
    ids = (*prompt.token_ids.tolist(), *following)
    cache = decoder.engine.new_cache(1, len(ids))
    step = decoder.engine.bind(cache, (0, 1), len(ids), 1)
    step.token_ids[0] = ids
    if prompt.vectors is not None:
        step.inputs_embeds[0, np.flatnonzero(prompt.token_ids == NO_TOKEN)] = prompt.vectors
    step.position_ids[0] = np.arange(len(ids))
    step.write_index[0] = 0
    step.logit_rows[0] = len(ids) - 1
    return step.run()[0, 0].copy()


def test_a_prompt_may_be_shorter_than_the_beginning(decoder: TinyDecoder) -> None:
    """Also where its cache, or the memory of one that grows, has no room for all of that."""
    engine, prompt = decoder.engine, CellPrompt(np.array([*BEGINNING[:3], 8, 8], np.int32))
    runner = PromptRunner(engine, (*BEGINNING, *([4, 6] * 40)))
    for cache in (engine.new_cache(1, 6), engine.growing_cache(1, 100)):
        found = runner.prefill(cache, 0, prompt)
        np.testing.assert_allclose(found, whole(decoder, prompt), atol=NOISE)


def prompts() -> dict[str, CellPrompt]:
    draw = np.random.default_rng(0)
    texts = {
        "all of the beginning": [*BEGINNING, 3, 4],
        "some of it": [*BEGINNING[:3], 8, 8, 8],
        "none of it": [8, 9],
        "nothing else": [*BEGINNING],
        "less": [*BEGINNING[:2]],
        "long": [*BEGINNING, *draw.integers(3, 40, 50).tolist()],
    }
    found = {name: CellPrompt(np.array(ids, np.int32)) for name, ids in texts.items()}
    spans = [*BEGINNING, -1, -1, 4, 5, -1, *range(3, 20), -1, 6]
    found["several spans"] = CellPrompt(np.array(spans, np.int32), random_vectors(1, 4))
    found["vectors first"] = CellPrompt(np.array([-1, -1, 7], np.int32), random_vectors(2, 2))
    return found


@pytest.mark.parametrize("piece", [1, 7, 512])
@pytest.mark.parametrize("name", prompts())
def test_logits_of_one_run(
    decoder: TinyDecoder, name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_TOKENS", piece)
    runner, prompt = PromptRunner(decoder.engine, BEGINNING), prompts()[name]
    cache = decoder.engine.new_cache(2, 100)
    runner.prefill(cache, 1, prompts()["long"])  # what lies there before does not matter
    logits = runner.prefill(cache, 1, prompt)
    np.testing.assert_allclose(logits, whole(decoder, prompt), rtol=0, atol=NOISE)
    logits = runner.prefill(cache, 0, prompt, opening=(11, 12))
    np.testing.assert_allclose(logits, whole(decoder, prompt, (11, 12)), rtol=0, atol=NOISE)
    draft = (11, 12)
    chosen = runner.choose(
        cache, 1, prompt, draft=draft, banned=np.empty((1, 3, 0), np.int32)
    ).tokens.tolist()
    assert chosen[0] == [int(whole(decoder, prompt, draft[:n]).argmax()) for n in range(3)]


def test_a_long_prompt_runs_in_pieces(
    decoder: TinyDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_TOKENS", 16)
    engine, sizes = decoder.engine, list[int]()

    class Watched:
        def new_cache(self, rows, capacity):
            return engine.new_cache(rows, capacity)

        def bind(self, cache, rows, tokens, logit_rows):
            sizes.append(tokens)
            return engine.bind(cache, rows, tokens, logit_rows)

    runner = PromptRunner(Watched(), BEGINNING)
    runner.prefill(engine.new_cache(1, 100), 0, prompts()["long"], opening=(3,))
    assert sizes == [6, 16, 16, 16, 3]  # the beginning, and 50 tokens with the opening


def constant(decoder: TinyDecoder, *ids: int) -> ConstantPrefix:
    """Keys and values of text tokens, by one run of the engine."""
    cache = decoder.engine.new_cache(1, len(ids))
    step = decoder.engine.bind(cache, (0, 1), len(ids), 1)
    step.token_ids[0] = ids
    step.position_ids[0] = np.arange(len(ids))
    step.write_index[0] = 0
    step.run()
    return ConstantPrefix(token_ids=ids, keys_values=cache.buffer[:, :, 0].copy())


@pytest.mark.parametrize("name", prompts())
@pytest.mark.parametrize(
    ("beginning", "stored"),
    [
        (BEGINNING, BEGINNING),
        (BEGINNING, BEGINNING[:4]),
        (BEGINNING, (*BEGINNING, 3, 4, 9)),  # more than what most prompts begin with
        (BEGINNING, (*BEGINNING[:2], 40, 41)),  # prompts leave it early
        (BEGINNING, (40, 41)),
        ((), BEGINNING),
    ],
)
def test_stored_keys_and_values_give_the_logits_of_one_run(
    decoder: TinyDecoder, name: str, beginning: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    runner = PromptRunner(decoder.engine, beginning, constant=constant(decoder, *stored))
    prompt, cache = prompts()[name], decoder.engine.new_cache(1, 100)
    logits = runner.prefill(cache, 0, prompt)
    np.testing.assert_allclose(logits, whole(decoder, prompt), rtol=0, atol=NOISE)


def test_what_is_stored_is_used_and_never_runs(decoder: TinyDecoder) -> None:
    stored, prompt = constant(decoder, *BEGINNING[:4]), prompts()["all of the beginning"]
    other = ConstantPrefix(token_ids=stored.token_ids, keys_values=2 * stored.keys_values)
    engine, sizes = decoder.engine, list[int]()

    class Watched:
        def new_cache(self, rows, capacity):
            return engine.new_cache(rows, capacity)

        def bind(self, cache, rows, tokens, logit_rows):
            sizes.append(tokens)
            return engine.bind(cache, rows, tokens, logit_rows)

    found = []
    for prefix in (stored, other):
        runner = PromptRunner(Watched(), BEGINNING, constant=prefix)
        found.append(runner.prefill(engine.new_cache(1, 100), 0, prompt).copy())
    assert sizes == 2 * [len(BEGINNING) - 4, 2]
    assert np.abs(found[0] - found[1]).max() > 100 * NOISE
