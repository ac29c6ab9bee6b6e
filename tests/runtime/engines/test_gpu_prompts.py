"""Prompts of several cells in one run on a GPU: the texts of the CPU engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes.cuda_driver import FakeDevice, FakeDriver, FakeGraph
from tiny_data import DECODERS, TinyDecoder, random_vectors, tiny_decoder

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import DecoderEngine
from c2t.runtime.engines.gpu.decoder import DeviceDecoder
from c2t.runtime.engines.gpu.open import upload_token_table
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.phrase_table import build_phrase_table
from c2t.runtime.system.errors import EngineError

GENERATION = Generation(max_new_tokens=20, no_repeat_ngram_size=2, eos_token_ids=(4, 8, 15))


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return tiny_decoder("sure")


class PromptRuns(DeviceDecoder):
    """A decoder that runs prompts of several cells together; `prompts` are rows and tokens."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.prompts: list[tuple[int, int]] = []
        self.fails_above = 1000

    def bind(self, cache: Any, rows: tuple[int, int], tokens: int, logit_rows: int) -> Any:
        if tokens > logit_rows:  # a step wants logits after every token
            self.prompts.append((rows[1] - rows[0], tokens))
            if rows[1] - rows[0] > self.fails_above:
                problem = "no memory for so many prompts"
                raise EngineError(problem)
        return super().bind(cache, rows, tokens, logit_rows)


@pytest.fixture
def in_batches(driver: FakeDriver, decoder: TinyDecoder) -> PromptRuns:
    graph = FakeGraph(DECODERS["sure"] / "decoder.onnx")
    graph.batch_tokens = 40
    table = upload_token_table(decoder.table, "float32")
    return PromptRuns(FakeDevice(), graph, decoder.engine.sizes, table)


def written(
    engine: DecoderEngine, decoder: TinyDecoder, lengths: list[int], captions: Any = (), **how: Any
) -> list[Any]:
    """What cells with so many vectors become."""
    vectors = [random_vectors(seed, count=length) for seed, length in enumerate(lengths)]
    drafter = Drafter(build_phrase_table(captions)) if captions else None
    search = GreedySearch(
        engine,
        decoder.runner(engine),
        generation=replace(GENERATION, **how),
        rows=4,
        capacity=80,
        drafter=drafter,
    )
    found = dict(search.run(decoder.cells(vectors)))
    return [found[number] for number in range(len(lengths))]


@pytest.mark.parametrize("drafts", [False, True])
def test_prompts_of_one_length_run_together(
    decoder: TinyDecoder, in_batches: PromptRuns, drafts: bool
) -> None:
    """As many as there are rows and room for; the rows that cells leave are filled together."""
    lengths = [3, 3, 3, 3, 3, 6, 6, 3, 3, 3, 3]
    plain = written(decoder.engine, decoder, lengths)
    captions = [list(text.token_ids) for text in plain[:5]] if drafts else []
    expected = written(decoder.engine, decoder, lengths, captions)
    in_batches.prompts.clear()
    found = written(in_batches, decoder, lengths, captions)
    assert [text.token_ids for text in found] == [text.token_ids for text in plain]
    if not drafts:  # the drafts behind prompts of one run are as long as is best for all of them
        assert [text.steps for text in found] == [text.steps for text in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-4)
    rows = [rows for rows, _ in in_batches.prompts]
    own = len(decoder.prompts.of_vectors(random_vectors(0, count=3)))
    assert max(rows) == 40 // own > 1
    assert sum(rows) == len(lengths) + 1  # and what all prompts begin with
    assert len(rows) < len(lengths)


def test_texts_that_end_with_their_first_token_leave_their_rows(
    decoder: TinyDecoder, in_batches: PromptRuns
) -> None:
    lengths = [3] * 9
    first = [text.token_ids[0] for text in written(decoder.engine, decoder, lengths)]
    ends = (first[1], first[4])  # of some texts, not of all
    assert 0 < sum(token in ends for token in first) < len(first)
    expected = written(decoder.engine, decoder, lengths, eos_token_ids=ends)
    found = written(in_batches, decoder, lengths, eos_token_ids=ends)
    assert [text.token_ids for text in found] == [text.token_ids for text in expected]


def test_prompts_that_do_not_run_together_run_one_by_one(
    decoder: TinyDecoder, in_batches: PromptRuns
) -> None:
    lengths = [3] * 5
    expected = written(decoder.engine, decoder, lengths)
    in_batches.fails_above = 1
    found = written(in_batches, decoder, lengths)
    assert [text.token_ids for text in found] == [text.token_ids for text in expected]
    in_batches.fails_above = 0
    with pytest.raises(EngineError):  # what all prompts begin with
        written(in_batches, decoder, lengths)
