"""The search for one cell against a model whose genes are known, and whose ranks shift."""

from __future__ import annotations

import numpy as np
import pytest

from c2t.runtime.explain.options import RUNS_MIN, ExplainOptions, make_plan
from c2t.runtime.explain.search import Found, NotFiniteError, Search, log_odds
from c2t.runtime.system.errors import C2TError

GENES = 400
BLANK = 0
CLS = 1
FIRST = 10
STRONG = {FIRST + 7: 0.8, FIRST + 90: 0.6, FIRST + 91: -0.5, FIRST + 250: 0.9, FIRST + 399: 0.4}
TOKENS = np.array([CLS, *range(FIRST, FIRST + GENES)], np.int32)


class KnownModel:
    """Words whose log odds are a sum over genes, less something for each rank that moved."""

    def __init__(self, *, shift: float = 0.0, noise: float = 0.0) -> None:
        self.shift, self.noise = shift, noise
        self.inputs: list[np.ndarray] = []

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.inputs += list(inputs)
        return np.array([self.one(row) for row in inputs])

    def one(self, row: np.ndarray) -> float:
        odds = 1.0 + sum(STRONG.get(token, 0.0) for token in row.tolist())
        place = {int(token): rank for rank, token in enumerate(TOKENS.tolist())}
        moved = sum(place[token] != rank for rank, token in enumerate(row.tolist()) if token >= CLS)
        odds -= self.shift * moved / GENES
        odds += self.noise * (hash(row.tobytes()) % 1000 / 1000 - 0.5)
        return float(-np.log1p(np.exp(-odds)))


def search(model: KnownModel, **options: int) -> Found:
    return Search(
        TOKENS,
        np.arange(1, GENES + 1),
        blank_token=BLANK,
        options=ExplainOptions(**options),
        score=model,
    ).run()


def tokens_of(found: Found, order: np.ndarray, count: int) -> set[int]:
    return {FIRST + int(place) for place in found.places[order][:count]}


@pytest.mark.parametrize("runs", [192, 256, 2000])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_genes_that_matter_are_found(runs: int, shift: float) -> None:
    found = search(KnownModel(shift=shift), runs=runs)
    strongest = np.argsort(-found.evidence, kind="stable")
    assert tokens_of(found, strongest, 4) == {t for t, value in STRONG.items() if value > 0}
    assert tokens_of(found, strongest[::-1], 1) == {FIRST + 91}
    assert found.together is not None
    assert found.together.moved > 3 * found.together.control_moved


def test_the_shift_of_later_ranks_is_not_evidence() -> None:
    found = search(KnownModel(shift=3.0), runs=2000)
    first, last = found.effects[1], found.effects[GENES - 2]
    assert first > 100 * abs(last)  # leaving out the second gene moves 398 ranks
    assert abs(found.evidence[1]) < 0.1 * first
    np.testing.assert_allclose(found.effects - found.evidence, found.control.shift, atol=1e-12)


@pytest.mark.parametrize("runs", [RUNS_MIN, 64, 100, 256, 406, 407, 408, 5000])
def test_runs_are_bounded_and_counted(runs: int) -> None:
    model = KnownModel(shift=1.0)
    found = search(model, runs=runs)
    assert found.runs == len(model.inputs) <= runs
    complete = runs >= GENES + 7
    assert (len(found.places) == GENES) == complete == (not found.groups)
    assert len(set(found.places.tolist())) == len(found.places)
    if complete:
        assert found.runs == GENES + 7


def test_every_input_keeps_the_special_tokens_and_the_order() -> None:
    model = KnownModel()
    search(model, runs=200)
    for row in model.inputs:
        assert row[0] == CLS
        kept = [token for token in row[1:].tolist() if token != BLANK]
        assert kept == sorted(kept)
        assert len(row) in (GENES + 1, GENES, GENES - 9)
        assert len(row) == GENES + 1 or BLANK not in row


def test_the_same_seed_gives_the_same() -> None:
    first, again = (search(KnownModel(shift=1.0), runs=128, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.places, again.places)
    np.testing.assert_array_equal(first.effects, again.effects)
    assert first.together == again.together
    other = search(KnownModel(shift=1.0), runs=128, seed=6)
    assert first.places.tolist() != other.places.tolist()


def test_noise_is_how_far_controls_scatter() -> None:
    quiet = search(KnownModel(), runs=5000).control.noise
    loud = search(KnownModel(noise=0.2), runs=5000).control.noise
    assert quiet < 1e-4 < 0.001 < loud < 0.1


def test_scores_that_are_not_finite_are_an_error() -> None:
    def broken(inputs: np.ndarray) -> np.ndarray:
        return np.full(len(inputs), np.nan)

    with pytest.raises(NotFiniteError):
        Search(
            TOKENS,
            np.arange(1, GENES + 1),
            blank_token=BLANK,
            options=ExplainOptions(),
            score=broken,
        ).run()


def test_two_genes_are_enough() -> None:
    found = Search(
        TOKENS[:3],
        np.arange(1, 3),
        blank_token=BLANK,
        options=ExplainOptions(),
        score=lambda inputs: np.full(len(inputs), -0.5),
    ).run()
    assert found.places.tolist() == [0, 1]
    assert found.effects.tolist() == [0.0, 0.0]
    assert found.together is not None
    assert found.together.genes == 1


def test_log_odds_of_a_sure_word_are_finite() -> None:
    odds = log_odds(np.array([0.0, -1e-20, -0.5, -50.0]))
    assert np.isfinite(odds).all()
    assert odds[0] == odds[1] > odds[2] > odds[3]


@pytest.mark.parametrize("genes", [2, 40, 41, 42, 100, 512, 4096])
@pytest.mark.parametrize("runs", [RUNS_MIN, 100, 256, 1000])
def test_a_plan_spends_no_more_than_it_has(genes: int, runs: int) -> None:
    plan = make_plan(genes, runs)
    if plan.complete:
        assert plan.controls == genes
        return
    blocks = -(-genes // plan.block)
    assert min(plan.controls, plan.splits, plan.chosen) >= 1
    assert 7 + plan.controls + blocks + plan.splits + plan.chosen <= runs


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"runs": RUNS_MIN - 1}, {"seed": -1}])
def test_options_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(C2TError, match=r"is -?[0-9]") as caught:
        ExplainOptions(**wrong)
    assert caught.value.hint
