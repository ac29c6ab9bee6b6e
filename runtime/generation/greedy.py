"""Greedy search over a working batch whose freed slots are refilled (continuous batching).

The occupied slots are always the first rows of the cache, so a step runs over exactly the cells
that are being written. Each row has its own position, so no cell waits for, or sees, another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine import DecoderEngine, Float32
from c2t.runtime.errors import EngineError
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    PromptedCell,
)
from c2t.runtime.manifest import Generation
from c2t.runtime.stages import StageClock


@dataclass
class _Slot:
    """One cell that is being written."""

    key: int
    length: int  # tokens in the cache: prompt and generated, without the last one
    ban: NgramBan
    tokens: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    steps: int = 1


class GreedySearch:
    """Greedy search as `generate(num_beams=1, do_sample=False)` does it.

    Args:
        decoder: The engine.
        prompts: Runs the cells' prompts.
        token_embedding: Text token rows [V,D].
        generation: Settings; `num_beams` is not looked at.
        slots: Cells that are written at the same time.
        capacity: Cache slots of a row; the longest prompt and `max_new_tokens` must fit.
        clock: Books the stage decode, and counts the decoder's runs.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompts: PromptRunner,
        token_embedding: NDArray[Any],
        *,
        generation: Generation,
        slots: int,
        capacity: int,
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._decoder = decoder
        self._prompts = prompts
        self._table = token_embedding
        self._generation = generation
        self._end = frozenset(generation.eos_token_ids)
        self._size = slots
        self._cache = decoder.new_cache(slots, capacity)

    def run(
        self, cells: Iterable[PromptedCell]
    ) -> Iterator[tuple[int, GeneratedSequence | GenerationFailure]]:
        """Write the cells; yields (key, result) in the order in which they are finished."""
        waiting = iter(cells)
        active: list[_Slot] = []
        exhausted = False
        while True:
            while not exhausted and len(active) < self._size:
                cell = next(waiting, None)
                if cell is None:
                    exhausted = True
                    break
                slot = self._begin(cell, len(active))
                if isinstance(slot, GenerationFailure):
                    yield cell.key, slot
                elif self._is_finished(slot):
                    yield slot.key, _result(slot)
                else:
                    active.append(slot)
            if not active:
                return
            yield from self._advance(active)

    def _begin(self, cell: PromptedCell, row: int) -> _Slot | GenerationFailure:
        """Prefill a cell into a free row and choose its first token."""
        try:
            logits = self._prompts.prefill(self._cache, row, cell.vectors)
        except EngineError as error:
            return GenerationFailure(error.problem)
        slot = _Slot(
            key=cell.key,
            length=self._prompts.length(len(cell.vectors)),
            ban=NgramBan(self._generation.no_repeat_ngram_size),
        )
        chosen = self._choose([slot], logits[None])
        return slot if chosen[0] else GenerationFailure(NOT_FINITE)

    def _advance(
        self, active: list[_Slot]
    ) -> Iterator[tuple[int, GeneratedSequence | GenerationFailure]]:
        """One token for every active cell; finished ones leave, and their rows are closed up."""
        since = time.perf_counter()
        rows = len(active)
        step = self._decoder.bind(self._cache, (0, rows), 1, 1)
        step.inputs_embeds[:, 0] = self._table[[slot.tokens[-1] for slot in active]]
        step.write_index[:] = [slot.length for slot in active]
        step.position_ids[:, 0] = step.write_index
        step.logit_rows[:] = 0
        logits = step.run()
        for slot in active:
            slot.length += 1
            slot.steps += 1
        chosen = self._choose(active, logits[:, 0])
        self._clock.add("decode", since)
        for row in range(rows - 1, -1, -1):  # from the end: the last row fills a gap
            slot = active[row]
            if chosen[row] and not self._is_finished(slot):
                continue
            yield slot.key, _result(slot) if chosen[row] else GenerationFailure(NOT_FINITE)
            last = active.pop()
            if last is not slot:
                active[row] = last
                self._move(len(active), row, last.length)

    def _choose(self, slots: list[_Slot], logits: Float32) -> list[bool]:
        """Append the best token that is not banned to each slot; False where logits are not finite.

        Args:
            slots: N cells.
            logits: [N,V]; used up.
        """
        rows = np.arange(len(slots))
        best = logits.argmax(axis=1)
        top = logits[rows, best]  # the largest of all, banned or not: the softmax needs it
        picked = best.tolist()
        values = top
        for row, slot in enumerate(slots):
            banned = slot.ban.banned()
            if picked[row] in banned:
                allowed = logits[row].copy()
                allowed[banned] = -np.inf
                picked[row] = int(allowed.argmax())
                values = logits[rows, picked]
        logits -= top[:, None]
        np.exp(logits, out=logits)
        probabilities = (np.exp(values - top) / logits.sum(axis=1)).tolist()
        finite: list[bool] = np.isfinite(top).tolist()
        for row, slot in enumerate(slots):
            if finite[row]:
                slot.tokens.append(picked[row])
                slot.probabilities.append(probabilities[row])
                slot.ban.append(picked[row])
        return finite

    def _is_finished(self, slot: _Slot) -> bool:
        return slot.tokens[-1] in self._end or len(slot.tokens) >= self._generation.max_new_tokens

    def _move(self, source: int, target: int, length: int) -> None:
        sources = list(range(self._cache.rows))
        sources[target] = source
        self._cache.gather(sources, 0, length)


def _result(slot: _Slot) -> GeneratedSequence:
    return GeneratedSequence(tuple(slot.tokens), tuple(slot.probabilities), slot.steps)
