"""Native turns write what the definition writes, to the last bit, and tell what it tells."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from fakes.decoder import FakeDecoder
from tiny_data import random_vectors, tiny_decoder

from c2t.kernels.drafts.cpu import MOST_BANS
from c2t.kernels.native import native_kernels
from c2t.kernels.turns.cpu import TextTurns, TurnSettings
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import NO_TOKEN
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.native_turns import NativeTurns
from c2t.runtime.generation.phrase_table import PhraseTable, build_phrase_table
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.python_turns import PythonTurns
from c2t.runtime.generation.sequence import (
    GeneratedSequence,
    GenerationFailure,
    Outcome,
    PromptedCell,
)
from c2t.runtime.system.timing import StageClock

pytestmark = pytest.mark.skipif(native_kernels() is None, reason="there is no native library")

WORDS = 23  # tokens of most vocabularies here
CELLS = 20


class InPython:
    """Native turns that are never possible."""

    def __init__(self, *_: object, **__: object) -> None:
        raise LookupError


@dataclass
class Cells:
    """Cells of which some fail before their prompts, and some leave; keeps what it was told.

    Args:
        cells: What comes.
        leaves: Of 1000 times that a cell is asked for, how often it has left.
    """

    cells: Iterator[PromptedCell | Outcome]
    leaves: int
    told: list[tuple[Hashable, tuple[int, ...]]] = field(default_factory=list)
    asked: int = 0
    watched: bool = True

    def take(self, *, wait: bool) -> PromptedCell | Outcome | None:
        """See `PromptedCells.take`."""
        return next(self.cells, None)

    def has_left(self, key: Hashable) -> bool:
        """See `PromptedCells.has_left`."""
        self.asked += 1
        return self.asked * 7919 % 1000 < self.leaves

    def wrote(self, key: Hashable, token_ids: Sequence[int]) -> None:
        """See `PromptedCells.wrote`."""
        self.told.append((key, tuple(token_ids)))


@dataclass(kw_only=True)
class Written:
    """Everything that a search lets others see."""

    outcomes: list[Outcome]
    told: list[tuple[Hashable, tuple[int, ...]]]
    counts: dict[str, int]
    runs: list[tuple[int, int]]
    banned: list[list[list[int]]]
    trust: float | None


def prompts(seed: int, *, vectors: bool) -> list[CellPrompt]:
    """Prompts of several lengths; those of tokens repeat what they say, so that a ban knows it."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(CELLS):
        length = int(draw.choice([5, 9, 9, 9, 40]))
        tokens = draw.integers(0, WORDS, length).astype(np.int32)
        tokens[0] = number % WORDS
        if not vectors:
            found.append(CellPrompt(tokens))
            continue
        tokens[2:4] = NO_TOKEN
        found.append(CellPrompt(tokens, np.full((2, 1), number % WORDS, np.float32)))
    return found


def write(
    decoder: FakeDecoder,
    of: Sequence[CellPrompt],
    generation: Generation,
    *,
    rows: int,
    drafter: Drafter | None,
    slack: int = 40,
    leaves: int = 0,
) -> Written:
    """Run a search over prompts."""
    clock = StageClock()
    search = GreedySearch(
        decoder,
        PromptRunner(decoder, ()),
        generation=generation,
        rows=rows,
        capacity=max(map(len, of)) + generation.max_new_tokens + slack,
        drafter=drafter,
        clock=clock,
    )
    cells: list[PromptedCell | Outcome] = [PromptedCell(n, p) for n, p in enumerate(of)]
    cells.insert(len(cells) // 2, ("bad", GenerationFailure("no tokens", "cell")))
    source = Cells(iter(cells), leaves)
    return Written(
        outcomes=list(search.run(source)),
        told=source.told,
        counts=clock.counts,
        runs=list(decoder.runs),
        banned=list(decoder.banned),
        trust=drafter.trust if drafter else None,
    )


def phrases(texts: Sequence[Sequence[int]], seed: int) -> PhraseTable:
    """Of these texts and of others, which begin like them."""
    draw = np.random.default_rng(seed)
    lies = [
        [*text[: draw.integers(0, 1 + len(text))], *draw.integers(0, WORDS, 12)] for text in texts
    ]
    return build_phrase_table([*texts, *texts, *lies], depth=int(draw.integers(1, 9)))


def texts_of(written: Written) -> list[tuple[int, ...]]:
    return [o.token_ids for _, o in written.outcomes if isinstance(o, GeneratedSequence)]


def by_cell(written: Written) -> dict[Hashable, tuple[int, ...]]:
    return {k: o.token_ids for k, o in written.outcomes if isinstance(o, GeneratedSequence)}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Written]:
    """Runs a search with the definition, then in native code; both give the same."""

    def compare(
        make: Callable[[], FakeDecoder],
        of: Sequence[CellPrompt],
        generation: Generation,
        *,
        table: PhraseTable | None,
        **options: Any,
    ) -> Written:
        def drafter(*, native: bool) -> Drafter | None:
            made = Drafter(table, longest=options.get("longest", 32)) if table else None
            if made and not native:
                made._walk = None
            return made

        given = {name: value for name, value in options.items() if name != "longest"}
        with monkeypatch.context() as patch:
            patch.setattr("c2t.runtime.generation.greedy.NativeTurns", InPython)
            expected = write(make(), of, generation, drafter=drafter(native=False), **given)
        with monkeypatch.context() as patch:
            patch.setattr("c2t.runtime.generation.greedy.PythonTurns", lambda *_, **__: None)
            found = write(make(), of, generation, drafter=drafter(native=True), **given)
        assert found == expected
        return found

    return compare


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ngram", [0, 1, 2, 3])
@pytest.mark.parametrize("vectors", [False, True])
def test_everything_is_the_same(
    compared: Callable[..., Written], seed: int, ngram: int, vectors: bool
) -> None:
    draw = np.random.default_rng(1000 * seed + ngram)
    of = prompts(seed, vectors=vectors)
    generation = Generation(
        max_new_tokens=int(draw.choice([1, 2, 21, 60])),
        no_repeat_ngram_size=ngram,
        eos_token_ids=tuple(draw.permutation(WORDS)[: draw.integers(0, 3)].tolist()),
    )

    def decoder() -> FakeDecoder:
        return FakeDecoder(seed=seed, vocabulary_size=WORDS, prompt_batch_tokens=30)

    plain = compared(decoder, of, generation, rows=4, table=None)
    assert len(plain.outcomes) == CELLS + 1
    table = phrases(texts_of(plain), seed)
    for rows in (1, 3, 8):
        drafted = compared(
            decoder,
            of,
            generation,
            rows=rows,
            table=table,
            longest=int(draw.integers(1, 33)),
            slack=int(draw.integers(0, 33)),
        )
        assert by_cell(drafted) == by_cell(plain)
        assert drafted.counts["steps"] < plain.counts["steps"] or generation.max_new_tokens < 3


@pytest.mark.parametrize("seed", range(8))
def test_odd_logits_broken_runs_and_cells_that_leave(
    compared: Callable[..., Written], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    of = prompts(seed, vectors=seed % 2 == 0)
    generation = Generation(max_new_tokens=30, no_repeat_ngram_size=2, eos_token_ids=(3,))
    table = phrases(
        texts_of(
            write(
                FakeDecoder(seed=seed, vocabulary_size=WORDS), of, generation, rows=4, drafter=None
            )
        ),
        seed,
    )

    def decoder() -> FakeDecoder:
        return FakeDecoder(
            seed=seed,
            vocabulary_size=WORDS,
            odd=20,
            broken=400,
            prompt_batch_tokens=60,
            multi_token_overhead=[0.0, 0.7][seed % 2],
            max_bit_exact_rows=[None, 1, 5][seed % 3],
        )

    for rows in (1, 5):
        written = compared(
            decoder, of, generation, rows=rows, table=table, leaves=int(draw.integers(0, 60))
        )
        assert any(isinstance(o, GenerationFailure) for _, o in written.outcomes[1:])


def test_a_text_that_repeats_itself_often_gets_more_memory(
    compared: Callable[..., Written],
) -> None:
    size = 3 * MOST_BANS
    of = [CellPrompt(np.arange(n, n + 5, dtype=np.int32)) for n in range(CELLS)]
    generation = Generation(max_new_tokens=2 * MOST_BANS, no_repeat_ngram_size=1)
    table = build_phrase_table([list(range(size)) * 2])

    def decoder() -> FakeDecoder:
        return FakeDecoder(seed=1, vocabulary_size=size)

    for drafts in (None, table):
        written = compared(decoder, of, generation, rows=3, table=drafts)
        assert {len(text) for text in texts_of(written)} == {2 * MOST_BANS}


@pytest.mark.parametrize("slack", [-30, -60])
def test_a_prompt_that_is_longer_than_was_said_gets_more_memory(slack: int) -> None:
    """Of a cache that is too small for all of a text, where the text ends before that."""
    tokens = np.arange(40, dtype=np.int32) % WORDS
    of = [CellPrompt(tokens[:5]), CellPrompt(tokens), CellPrompt(tokens[:7])]
    plain = Generation(max_new_tokens=100, no_repeat_ngram_size=3, eos_token_ids=(1, 2, 3, 4, 5))

    def decoder() -> FakeDecoder:
        return FakeDecoder(seed=2, vocabulary_size=WORDS)

    def in_room(slack: int) -> list[Outcome]:
        written = write(decoder(), of, plain, rows=2, drafter=None, slack=slack)
        return written.outcomes

    assert max(len(o.token_ids) for _, o in in_room(0) if isinstance(o, GeneratedSequence)) < 40
    assert in_room(slack) == in_room(0)


def test_a_search_may_run_again() -> None:
    decoder = tiny_decoder()
    generation = Generation(max_new_tokens=24, no_repeat_ngram_size=3, eos_token_ids=(4, 8, 15))
    search = GreedySearch(
        decoder.engine, decoder.runner(), generation=generation, rows=3, capacity=60
    )
    vectors = [random_vectors(seed) for seed in range(9)]
    first = list(search.run(decoder.cells(vectors)))
    half_way = search.run(decoder.cells(vectors))
    assert next(half_way) == first[0]
    half_way.close()
    assert list(search.run(decoder.cells(vectors))) == first


def test_who_takes_turns() -> None:
    """Native code where it can, Python for all else."""
    table = build_phrase_table([[1, 2, 3]])

    class OtherDrafter(Drafter):
        """May propose something else."""

    def turns(generation: Generation, drafter: Drafter | None) -> type:
        decoder = FakeDecoder(seed=1, vocabulary_size=WORDS)
        runner = PromptRunner(decoder, ())
        search = GreedySearch(
            decoder, runner, generation=generation, rows=1, capacity=99, drafter=drafter
        )
        return type(search._turns)

    plain, unnative = Generation(), Drafter(table)
    unnative._walk = None
    assert turns(plain, None) is NativeTurns
    assert turns(plain, Drafter(table)) is NativeTurns
    assert turns(replace(plain, temperature=0.5), None) is PythonTurns
    assert turns(replace(plain, repetition_penalty=1.2), Drafter(table)) is PythonTurns
    assert turns(plain, OtherDrafter(table)) is PythonTurns
    assert turns(plain, unnative) is PythonTurns


def text_turns(rows: int = 2) -> TextTurns:
    settings = TurnSettings(
        rows=rows,
        positions=20,
        most_tokens=3,
        longest=0,
        ngram=2,
        end_tokens=(7,),
        start=0,
        unlikely=0.0,
        token_cost=0.0,
        cost_per_row=0.0,
        memory=1.0,
        prior=1.0,
    )
    return TextTurns(settings, walk=None, learned=np.zeros(2))


def test_what_is_outside_the_texts_is_refused() -> None:
    texts = text_turns()
    anything = {"limit": 9, "positions": 99, "overhead": 0.0}
    for first, count in ((0, 3), (1, 2), (-1, 1), (1, 0)):
        with pytest.raises(IndexError):
            texts.propose(first, count, **anything)
    with pytest.raises(IndexError):
        texts.begin(2, np.zeros(0, np.int32), 0)
    for row in range(2):
        texts.begin(row, np.array([4, 5, 4], np.int32), 9)
    inputs = texts.propose(0, 2, **anything)
    assert inputs.token_ids.tolist() == [[0], [0]]
    assert inputs.start.tolist() == [9, 9]
    assert inputs.banned.tolist() == [[[5]], [[5]]]
    with pytest.raises(ValueError, match="of a step"):
        texts.take(np.zeros((2, 2), np.int64), np.ones((2, 2), np.bool_))
    # A view that skips numbers, as an engine may give.
    chosen, finite = np.array([[6, 0], [7, 0]])[:, :1], np.ones((2, 1), np.bool_)
    assert texts.take(chosen, finite).ended == [1]
    with pytest.raises(ValueError, match="of a step"):  # once more
        texts.take(chosen, finite)
    assert [list(texts.tokens(row)) for row in range(2)] == [[6], [7]]


def test_a_finished_text_has_no_room_for_more() -> None:
    texts = text_turns(1)
    texts.begin(0, np.zeros(0, np.int32), 0)
    for _ in range(5):
        texts.propose(0, 1, limit=0, positions=99, overhead=0.0)
        texts.take(np.ones((1, 1), np.int64), np.ones((1, 1), np.bool_))
    assert list(texts.tokens(0)) == [1, 1, 1]


def test_longer_prompts_get_memory_and_others_keep_their_texts() -> None:
    texts = text_turns()
    texts.begin(0, np.arange(10, dtype=np.int32), 9)
    texts.propose(0, 1, limit=0, positions=99, overhead=0.0)
    texts.take(np.array([[3]]), np.ones((1, 1), np.bool_))
    texts.begin(1, np.arange(500, dtype=np.int32), 499)
    inputs = texts.propose(0, 2, limit=0, positions=999, overhead=0.0)
    assert inputs.token_ids.tolist() == [[3], [0]]
    assert inputs.banned.tolist() == [[[4]], [[-1]]]
    texts.remove(0, 1)
    assert texts.cached(0) == 499
    assert list(texts.tokens(0)) == []
