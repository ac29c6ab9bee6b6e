"""Penalty, stop strings and drawn tokens mean what they mean in transformers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_data import random_vectors
from tiny_decoder import TinyDecoder, make_decoder
from tiny_models import tiny_tokenizer
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from c2t.export.model.model import generation_config
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.text_tokenizer import read_tokenizer
from c2t.runtime.generation.beam_search import BeamSearch
from c2t.runtime.generation.bundle_prompts import vector_prompts
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.sequence import FixedCells, GeneratedSequence, PromptedCell
from c2t.runtime.generation.shaped_logits import kept_tokens, shaped
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.system.errors import C2TError

SEEDS = range(5)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> TinyDecoder:
    """Its vocabulary is the tokenizer's."""
    folder = tmp_path_factory.mktemp("decoder")
    return make_decoder(folder, vocabulary=len(tiny_tokenizer()), spread=0.2)


@pytest.fixture(scope="module")
def stops_of() -> StopStrings:
    content = tiny_tokenizer().backend_tokenizer.to_str().encode()
    tokenizer = read_tokenizer(content, "tokenizer.json", error=C2TError, hint="")
    return lambda strings: StopStrings(strings, tokenizer)


def text_prompt(seed: int) -> list[int]:
    """Text tokens, some of them repeated."""
    words = "This sample consists of a B cell of the blood of"
    return [*tiny_tokenizer()(words).input_ids[: 6 + seed], 40 + seed, 41, 40 + seed]


def of_transformers(
    decoder: TinyDecoder, seed: int, generation: Generation, *, text: bool = False
) -> list[int]:
    if text:
        ids = torch.tensor(text_prompt(seed))[None]
        given, mask, done = {"input_ids": ids}, torch.ones_like(ids), ids.shape[1]
    else:
        rows = torch.from_numpy(decoder.prompt_rows(random_vectors(seed)))[None]
        given, mask, done = {"inputs_embeds": rows}, torch.ones(rows.shape[:2]).long(), 0
    with torch.no_grad():
        tokens = decoder.model.generate(
            **given,
            attention_mask=mask,
            generation_config=generation_config(generation),
            use_model_defaults=False,
            tokenizer=tiny_tokenizer(),
        )
    return tokens[0, done:].tolist()


def ours(
    decoder: TinyDecoder,
    generation: Generation,
    stops: StopStrings | None = None,
    *,
    text: bool = False,
) -> dict[int, GeneratedSequence]:
    of_vectors = vector_prompts(decoder.prompt)
    prompts = PromptRunner(decoder.engine, () if text else of_vectors.beginning)
    options = {"generation": generation, "capacity": 80, "stops": stops}
    if generation.num_beams > 1:
        search = BeamSearch(decoder.engine, prompts, **options)
    else:
        search = GreedySearch(decoder.engine, prompts, rows=3, **options)
    cells = [
        PromptedCell(
            seed,
            CellPrompt(np.array(text_prompt(seed), np.int32))
            if text
            else of_vectors.of_vectors(random_vectors(seed)),
        )
        for seed in SEEDS
    ]
    return dict(search.run(FixedCells(cells)))


@pytest.mark.parametrize("penalty", [1.2, 0.7])
@pytest.mark.parametrize(("beams", "ngram"), [(1, 0), (1, 2), (3, 0), (3, 2)])
def test_repetition_penalty(decoder: TinyDecoder, penalty: float, beams: int, ngram: int) -> None:
    generation = Generation(
        max_new_tokens=16,
        num_beams=beams,
        no_repeat_ngram_size=ngram,
        repetition_penalty=penalty,
        eos_token_ids=tuple(range(8)),
    )
    expected = [of_transformers(decoder, seed, generation) for seed in SEEDS]
    assert [list(ours(decoder, generation)[seed].token_ids) for seed in SEEDS] == expected
    plain = replace(generation, repetition_penalty=1.0)
    assert expected != [of_transformers(decoder, seed, plain) for seed in SEEDS]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prompt_of_text_counts(decoder: TinyDecoder, stops_of: StopStrings, beams: int) -> None:
    """For the penalty, for the ban, and for a stop string that begins in it."""
    last = [tiny_tokenizer().decode(text_prompt(seed)[-1:]) for seed in SEEDS]
    for settings in (
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2, "repetition_penalty": 0.8},
        {"stop_strings": (f"{last[0]}{decoded(decoder, beams)[:1]}",)},
    ):
        generation = Generation(
            max_new_tokens=16, num_beams=beams, eos_token_ids=tuple(range(8)), **settings
        )
        stops = stops_of(generation.stop_strings) if generation.stop_strings else None
        expected = [of_transformers(decoder, seed, generation, text=True) for seed in SEEDS]
        found = ours(decoder, generation, stops, text=True)
        assert [list(found[seed].token_ids) for seed in SEEDS] == expected
        plain = Generation(max_new_tokens=16, num_beams=beams, eos_token_ids=tuple(range(8)))
        assert expected != [of_transformers(decoder, seed, plain, text=True) for seed in SEEDS]


def decoded(decoder: TinyDecoder, beams: int) -> str:
    """The text behind the first text prompt."""
    plain = Generation(max_new_tokens=16, num_beams=beams, eos_token_ids=tuple(range(8)))
    return tiny_tokenizer().decode(of_transformers(decoder, 0, plain, text=True))


@pytest.mark.parametrize("beams", [1, 3])
def test_stop_strings(decoder: TinyDecoder, stops_of: StopStrings, beams: int) -> None:
    plain = Generation(max_new_tokens=16, num_beams=beams, no_repeat_ngram_size=2)
    texts = [of_transformers(decoder, seed, plain) for seed in SEEDS]
    decoded = [tiny_tokenizer().decode(tokens) for tokens in texts]
    # Inside tokens, over several, and special ones; some texts have none of them.
    strings = [decoded[0][9:12], decoded[1][14:20], decoded[2][5:7], "<|eot_id|>", "never there"]
    generation = replace(plain, stop_strings=tuple(strings))
    expected = [of_transformers(decoder, seed, generation) for seed in SEEDS]
    found = ours(decoder, generation, stops_of(strings))
    assert [list(found[seed].token_ids) for seed in SEEDS] == expected
    assert expected != texts
    assert any(len(tokens) < 16 for tokens in expected)
    for seed in SEEDS:
        assert found[seed].stopped == (len(expected[seed]) < 16)


@pytest.mark.parametrize("seed", range(3))
def test_letters_of_a_token_are_those_of_transformers(stops_of: StopStrings, seed: int) -> None:
    from transformers import StopStringCriteria

    tokenizer = tiny_tokenizer()
    words = "aft erofmonocyt,."
    strings = [words[seed : seed + 2], words[seed + 3 : seed + 4], " "]
    criterion = StopStringCriteria(tokenizer, strings)
    mine = stops_of(strings)
    rows = np.random.default_rng(seed).integers(0, len(tokenizer), (200, 6))
    expected = criterion(torch.from_numpy(rows), torch.zeros(1)).tolist()
    assert [mine.complete(row) for row in rows.tolist()] == expected
    assert set(expected) == {True, False}


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 0.4, "top_p": 0.3, "top_k": 40},
        {"temperature": 2.0, "top_p": 0.999, "repetition_penalty": 1.3},
        {"temperature": 0.9, "top_p": 1e-6, "repetition_penalty": 0.5, "no_repeat_ngram_size": 2},
    ],
)
def test_the_distribution_that_tokens_are_drawn_from(settings: dict[str, float]) -> None:
    generation = Generation(**settings)
    processors = LogitsProcessorList()
    if generation.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(generation.repetition_penalty))
    if generation.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(generation.no_repeat_ngram_size))
    processors.append(TemperatureLogitsWarper(generation.temperature))
    if generation.top_k:
        processors.append(TopKLogitsWarper(generation.top_k))
    if generation.top_p < 1:
        processors.append(TopPLogitsWarper(generation.top_p))
    generator = np.random.default_rng(1)
    for _ in range(8):
        logits = generator.normal(0, 3, 500).astype(np.float32)
        text = generator.integers(0, 12, 60)
        scores = processors(torch.from_numpy(text)[None], torch.from_numpy(logits.copy())[None])
        expected = torch.softmax(scores[0].double(), dim=0).numpy()
        ban = NgramBan(generation.no_repeat_ngram_size)
        for token in text.tolist():
            ban.append(token)
        before = logits.copy()
        banned = np.array(ban.banned(), dtype=np.int64)
        with shaped(logits, np.unique(text), banned, generation.repetition_penalty) as changed:
            tokens, shares = kept_tokens(
                changed,
                temperature=generation.temperature,
                top_k=generation.top_k,
                top_p=generation.top_p,
            )
        np.testing.assert_array_equal(logits, before)
        np.testing.assert_array_equal(tokens, np.flatnonzero(expected))
        np.testing.assert_allclose(shares, expected[tokens], rtol=1e-5)
