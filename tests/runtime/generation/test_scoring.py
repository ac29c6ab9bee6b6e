"""Candidates' log probabilities equal those of one path alone, whatever is scored beside it."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import DECODER_PROMPT, TinyDecoder, random_vectors, tiny_decoder

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.kernel_step import open_decoder
from c2t.runtime.generation.bundle_prompts import vector_prompts
from c2t.runtime.generation.candidate_trie import CandidateTrie
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

NOISE = 1e-4  # of a log probability
OPENING = (1, 2, 3)


def paths(count: int = 30, seed: int = 0) -> list[tuple[int, ...]]:
    """Paths with common beginnings, some of which go on where another ends."""
    draw = np.random.default_rng(seed)
    return [tuple(draw.integers(4, 8, draw.integers(1, 9)).tolist()) for _ in range(count)]


def with_kernel() -> TinyDecoder:
    tiny = tiny_decoder()
    options = EngineOptions(threads=1)
    if step_kernels() is None:
        pytest.skip("no step of ours runs here")
    engine, steps = open_decoder(tiny.path, tiny.engine.sizes, tiny.table, options)
    assert steps == "every step is one kernel"
    return TinyDecoder(tiny.name, tiny.path, engine, tiny.table, tiny.prompt)


@pytest.fixture(scope="module", params=["onnxruntime", "kernel"])
def decoder(request: pytest.FixtureRequest) -> TinyDecoder:
    return tiny_decoder() if request.param == "onnxruntime" else with_kernel()


class VectorScorer(CandidateScorer):
    """Scores cells by their vectors [K,D]."""

    def score(self, vectors: list[np.ndarray], trie: CandidateTrie) -> np.ndarray:
        of = vector_prompts(DECODER_PROMPT).of_vectors
        return super().score([of(each) for each in vectors], trie)


def scorer(decoder: TinyDecoder, **options: int | StageClock) -> VectorScorer:
    return VectorScorer(decoder.engine, decoder.runner(), **options)


def alone(decoder: TinyDecoder, vectors: np.ndarray, path: tuple[int, ...]) -> float:
    """One path by one run over prompt, opening and path: no cache, no trie, no neighbours."""
    prompt = decoder.prompt
    following = (*prompt.suffix_ids, *OPENING, *path)
    ids = [*prompt.prefix_ids, *([-1] * len(vectors)), *following]
    cache = decoder.engine.new_cache(1, len(ids))
    step = decoder.engine.bind(cache, (0, 1), len(ids), len(path))
    step.token_ids[0] = ids
    step.inputs_embeds[0, len(prompt.prefix_ids) : -len(following)] = vectors
    step.position_ids[0] = np.arange(len(ids))
    step.write_index[0] = 0
    step.logit_rows[0] = np.arange(len(ids) - 1 - len(path), len(ids) - 1)
    logits = step.run()[0].astype(np.float64)
    scores = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    scores -= logits.max(1, keepdims=True)
    return float(scores[np.arange(len(path)), path].sum())


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_equal_to_one_by_one(decoder: TinyDecoder, rows: int) -> None:
    cells = [random_vectors(seed, count=2 + 3 * seed % 7) for seed in range(5)]
    trie = CandidateTrie(OPENING, paths())
    found = scorer(decoder, rows=rows).score(cells, trie)
    expected = [[alone(decoder, cell, path) for path in trie.paths] for cell in cells]
    np.testing.assert_allclose(found, expected, rtol=0, atol=NOISE)


def test_neighbours_change_nothing(decoder: TinyDecoder) -> None:
    cells = [random_vectors(seed) for seed in range(40)]
    trie, few = CandidateTrie(OPENING, paths()), CandidateTrie(OPENING, paths()[:3])
    together = scorer(decoder, rows=16).score(cells, trie)
    one = scorer(decoder, rows=16)
    for number in (0, 7, 39):
        single = one.score([cells[number]], trie)[0]
        np.testing.assert_allclose(single, together[number], rtol=0, atol=NOISE)
    fewer = scorer(decoder, rows=8).score(cells, few)
    np.testing.assert_allclose(fewer, together[:, :3], rtol=0, atol=NOISE)


def test_the_kernels_bits_do_not_depend_on_neighbours() -> None:
    decoder = with_kernel()
    cells = [random_vectors(seed) for seed in range(20)]
    trie = CandidateTrie(OPENING, paths())
    results = [scorer(decoder, rows=rows).score(cells, trie) for rows in (1, 7, 16)]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-12)


def test_one_scorer_takes_one_trie_after_another(decoder: TinyDecoder) -> None:
    cells = [random_vectors(seed) for seed in range(3)]
    tries = [CandidateTrie(OPENING, paths(count, count)) for count in (2, 30, 1, 12)]
    used = scorer(decoder)
    for trie in tries:
        np.testing.assert_allclose(
            used.score(cells, trie), scorer(decoder).score(cells, trie), rtol=0, atol=NOISE
        )


def test_few_runs(decoder: TinyDecoder) -> None:
    """Cells side by side share the runs of a trie."""
    clock = StageClock()
    trie = CandidateTrie(OPENING, paths())
    scorer(decoder, rows=16, clock=clock).score([random_vectors(s) for s in range(16)], trie)
    chains = len(trie.steps(1))
    assert clock.counts["steps"] == chains + 16  # and a prompt each


def test_probabilities_of_all_next_tokens_add_up_to_one(decoder: TinyDecoder) -> None:
    vocabulary = decoder.engine.sizes.vocabulary_size
    trie = CandidateTrie(OPENING, [(5, token) for token in range(vocabulary)])
    of_all = scorer(decoder).score([random_vectors(0)], trie)
    first = scorer(decoder).score([random_vectors(0)], CandidateTrie(OPENING, [(5,)]))
    np.testing.assert_allclose(np.exp(of_all - first).sum(), 1, rtol=1e-5)


def test_a_cell_that_is_not_finite_costs_no_other(decoder: TinyDecoder) -> None:
    cells = [random_vectors(seed) for seed in range(3)]
    trie = CandidateTrie(OPENING, paths())
    expected = scorer(decoder).score(cells, trie)
    broken = [cells[0], np.full_like(cells[1], np.nan), cells[2]]
    found = scorer(decoder).score(broken, trie)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=0, atol=NOISE)


def test_no_cells_and_no_room(decoder: TinyDecoder) -> None:
    trie = CandidateTrie(OPENING, paths())
    assert scorer(decoder).score([], trie).shape == (0, 30)
    with pytest.raises(EngineError, match="cache positions"):
        scorer(decoder, capacity=10).score([random_vectors(0)], trie)
