"""Greedy search over a working batch whose freed slots are refilled (continuous batching).

The occupied slots are always the first rows of the cache, so a step runs over exactly the cells
that are being written. Each row has its own position and its own draft, so no cell waits for, or
sees, another. What another number of rows can change is the rounding of a float32 matrix product
in its last bits, and with it a choice between two tokens that are equally likely to six digits.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import NO_TOKEN, Choices, DecoderEngine, Int32
from c2t.runtime.generation.drafts import NO_DRAFT, Cursor, Draft, Drafter, common_length
from c2t.runtime.generation.ngram_ban import NgramBan, banned_array
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    Outcome,
    PromptedCell,
    PromptedCells,
)
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock


@dataclass
class _Slot:
    """One cell that is being written."""

    key: Hashable
    length: int  # tokens in the cache: prompt and text, without the text's last token
    ban: NgramBan
    cursor: Cursor | None
    draft: Draft = NO_DRAFT
    tokens: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    steps: int = 0
    failed: bool = False


class GreedySearch:
    """Greedy search as `generate(num_beams=1, do_sample=False)` does it.

    Args:
        decoder: The engine.
        prompts: Runs the cells' prompts.
        generation: Settings; `num_beams` is not looked at.
        slots: Cells that are written at the same time.
        capacity: Cache slots of a row; the longest prompt, `max_new_tokens` and, for drafts of full
            length, the drafter's longest draft fit into it.
        drafter: Proposes tokens to be verified; None: one token a step.
        clock: Records the stage decode, and counts the decoder's runs.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompts: PromptRunner,
        *,
        generation: Generation,
        slots: int,
        capacity: int,
        drafter: Drafter | None = None,
        clock: StageClock | None = None,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._generation = generation
        self._end = frozenset(generation.eos_token_ids)
        self._size = slots
        self._drafter = drafter
        self._clock = clock or StageClock()
        self._cache = decoder.new_cache(slots, capacity)
        # Several cells at a time would have hardly a draft left within them.
        self._exact_rows = decoder.max_bit_exact_rows if slots == 1 else None

    def run(self, cells: PromptedCells) -> Iterator[Outcome]:
        """Write the cells; yields (key, result) in the order in which they are finished."""
        active: list[_Slot] = []
        while True:
            while len(active) < self._size:
                cell = cells.take(wait=not active)
                if cell is None:
                    break
                if not isinstance(cell, PromptedCell):
                    yield cell
                    continue
                try:
                    slot = self._begin(cell, len(active))
                except EngineError as error:
                    yield cell.key, GenerationFailure(error.problem)
                    continue
                if self._is_finished(slot):
                    yield self._outcome(slot)
                else:
                    active.append(slot)
            if not active:
                return
            yield from self._advance(active)
            self._let_go(active, cells)

    def _begin(self, cell: PromptedCell, row: int) -> _Slot:
        """Prefill a cell into a free row and choose its first tokens."""
        drafter = self._drafter
        slot = _Slot(
            key=cell.key,
            length=self._prompts.length(len(cell.vectors)) - 1,
            ban=NgramBan(self._generation.no_repeat_ngram_size),
            cursor=drafter.begin() if drafter else None,
        )
        # A prompt is a run over several tokens anyway. But it may be longer than exact rows: what
        # it drafted would be judged by other numbers than those of a step.
        if self._exact_rows is None:
            self._propose([slot], self._generation.max_new_tokens, multi_token_overhead=0.0)
        draft = slot.draft.tokens
        choices = self._prompts.choose(
            self._cache, row, cell.vectors, draft=draft, banned=_banned([slot], 1 + len(draft))
        )
        self._take([slot], choices)
        return slot

    def _advance(self, active: list[_Slot]) -> Iterator[Outcome]:
        """One step for all active cells; finished ones leave, and their rows are closed up."""
        since = time.perf_counter()
        rows = len(active)
        room = self._cache.capacity - max(slot.length for slot in active) - 1
        if self._exact_rows is not None:
            room = min(room, self._exact_rows - 1)
        self._propose(active, room, multi_token_overhead=self._decoder.multi_token_overhead)
        tokens = 1 + max(len(slot.draft.tokens) for slot in active)
        step = self._decoder.bind(self._cache, (0, rows), tokens, tokens)
        step.token_ids[:] = [
            _padded((slot.tokens[-1], *slot.draft.tokens), tokens) for slot in active
        ]
        step.write_index[:] = [slot.length for slot in active]
        step.position_ids[:] = step.write_index[:, None] + np.arange(tokens)
        step.logit_rows[:] = np.arange(tokens)
        self._take(active, step.choose(_banned(active, tokens)))
        self._clock.add("decode", since)
        for row in range(rows - 1, -1, -1):  # from the end: the last row fills a gap
            if self._is_finished(active[row]):
                yield self._outcome(self._remove(active, row))

    def _let_go(self, active: list[_Slot], cells: PromptedCells) -> None:
        """Give up the cells whose texts nobody wants any more."""
        for row in range(len(active) - 1, -1, -1):
            if cells.has_left(active[row].key):
                self._remove(active, row)

    def _remove(self, active: list[_Slot], row: int) -> _Slot:
        """Take a cell out of the batch; the last row moves into its place."""
        slot, last = active[row], active.pop()
        if last is not slot:
            active[row] = last
            self._move(len(active), row, last.length)
        return slot

    def _propose(self, slots: list[_Slot], room: int, *, multi_token_overhead: float) -> None:
        """Draft, no further than a text may go, and the fullest row's buffer."""
        if self._drafter is None:
            return
        most = self._generation.max_new_tokens - 1
        drafts = [
            # The last token of a text is never drafted: its step would give a token too many.
            self._drafter.propose(slot.cursor, slot.ban, min(room, most - len(slot.tokens)))
            for slot in slots
            if slot.cursor is not None
        ]
        length = common_length(drafts, multi_token_overhead=multi_token_overhead)
        for slot, draft in zip(slots, drafts, strict=True):
            slot.draft = draft.cut(length)

    def _take(self, slots: list[_Slot], choices: Choices) -> None:
        """Append to each slot the model's choices, as far as they confirm its draft, and one more.

        Args:
            slots: N cells.
            choices: [N,T], after the last token and after each drafted one.
        """
        chosen, finite = choices.tokens.tolist(), choices.finite.tolist()
        rows: list[int] = []
        places: list[int] = []
        for number, slot in enumerate(slots):
            slot.steps += 1
            before = len(slot.tokens)
            for place, drafted in enumerate((*slot.draft.tokens, NO_TOKEN)):
                if not finite[number][place]:
                    slot.failed = True
                    break
                token = chosen[number][place]
                self._append(slot, token)
                rows.append(number)
                places.append(place)
                if token != drafted or self._is_finished(slot):
                    break
            slot.length += len(slot.tokens) - before
            self._learn(slot, len(slot.tokens) - before - 1)
        self._book(slots, choices.probabilities(rows, places))

    def _append(self, slot: _Slot, token: int) -> None:
        slot.tokens.append(token)
        slot.ban.append(token)
        if self._drafter is not None and slot.cursor is not None:
            self._drafter.advance(slot.cursor, token)

    def _learn(self, slot: _Slot, accepted: int) -> None:
        if self._drafter is None or slot.failed:
            return
        self._drafter.learn(slot.draft, accepted)
        self._clock.count("drafted", len(slot.draft.tokens))
        self._clock.count("accepted", accepted)

    def _book(self, slots: list[_Slot], probabilities: list[float]) -> None:
        """Hand the probabilities of the new tokens to their slots."""
        first = 0
        for slot in slots:
            new = len(slot.tokens) - len(slot.probabilities)
            slot.probabilities += probabilities[first : first + new]
            first += new
        assert first == len(probabilities)

    def _is_finished(self, slot: _Slot) -> bool:
        return (
            slot.failed
            or slot.tokens[-1] in self._end
            or len(slot.tokens) >= self._generation.max_new_tokens
        )

    def _outcome(self, slot: _Slot) -> Outcome:
        if slot.failed:
            return slot.key, GenerationFailure(NOT_FINITE)
        self._clock.count("steps", slot.steps)
        return slot.key, GeneratedSequence(
            tuple(slot.tokens), tuple(slot.probabilities), slot.steps
        )

    def _move(self, source: int, target: int, length: int) -> None:
        sources = list(range(self._cache.rows))
        sources[target] = source
        self._cache.gather(sources, 0, length)


def _banned(slots: list[_Slot], places: int) -> Int32:
    """The n-gram ban at each place of the slots' drafts, [N,places,...]."""
    return banned_array([slot.ban.along(slot.draft.tokens) for slot in slots], places)


def _padded(tokens: Sequence[int], length: int) -> tuple[int, ...]:
    """Any token does for padding: nothing looks at it."""
    return (*tokens, *(0,) * (length - len(tokens)))
