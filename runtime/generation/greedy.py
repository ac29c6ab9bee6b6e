"""Greedy search over a batch whose free rows are filled again (continuous batching).

The cells that are being written always have the first batch rows of the cache, so a step runs over
exactly these. Each row has its own position and its own draft, so no cell waits for another or sees
it. The number of rows can change the rounding of a float32 matrix product in its last bits, and
with it a choice between two tokens that are equally likely to six digits.

What happens to the texts between two steps is `c2t.runtime.generation.turns`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from contextlib import suppress

import numpy as np

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import DecoderEngine
from c2t.runtime.generation.arrivals import Arrivals
from c2t.runtime.generation.drafts import DraftSource
from c2t.runtime.generation.native_turns import NativeTurns
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.python_turns import PythonTurns
from c2t.runtime.generation.sequence import (
    GenerationFailure,
    Outcome,
    PromptedCell,
    PromptedCells,
)
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.generation.turns import ANY, Turns
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock


class GreedySearch:
    """Greedy search as `generate(num_beams=1, do_sample=False)` does it, or with tokens drawn.

    Args:
        decoder: The engine.
        prompts: Runs the cells' prompts.
        generation: Settings; `num_beams` is ignored.
        rows: Batch rows: cells that are written at the same time.
        capacity: Cache positions of a batch row: the longest prompt, `max_new_tokens` and, for
            drafts of full length, the drafter's longest draft.
        drafter: Proposes tokens, which the decoder verifies; None: one token a step.
        stops: The stop strings; None: there are none.
        clock: Records the stage decode, and counts the decoder's runs.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompts: PromptRunner,
        *,
        generation: Generation,
        rows: int,
        capacity: int,
        drafter: DraftSource | None = None,
        stops: StopStrings | None = None,
        clock: StageClock | None = None,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._size = rows
        self._clock = clock or StageClock()
        self._cache = decoder.growing_cache(rows, capacity)
        # The limit is too low for several cells with a draft each, so only a single cell keeps it.
        self._exact_tokens = decoder.max_bit_exact_rows if rows == 1 else None
        self._turns: Turns = PythonTurns(
            generation, drafter=drafter, stops=stops, clock=self._clock
        )
        if stops is None:
            with suppress(LookupError):
                self._turns = NativeTurns(
                    generation, rows=rows, capacity=capacity, drafter=drafter, clock=self._clock
                )

    def run(self, cells: PromptedCells) -> Iterator[Outcome]:
        """Write the cells; yields (key, result) in the order in which they are finished."""
        active: list[Hashable] = []  # the keys of the cells in the first batch rows
        arrivals = Arrivals(cells, self._decoder.prompt_batch_tokens)
        while True:
            while len(active) < self._size:
                failed, batch = arrivals.take(self._size - len(active), wait=not active)
                yield from failed
                if not (failed or batch):
                    break
                yield from self._begin_all(batch, active, cells)
            if not active:
                return
            yield from self._advance(active)
            if cells.watched:
                self._tell(active, 0, cells)
                self._let_go(active, cells)

    def _begin_all(
        self, batch: list[PromptedCell], active: list[Hashable], cells: PromptedCells
    ) -> Iterator[Outcome]:
        """Begin cells in the free rows behind the active ones; those that are finished leave."""
        if not batch:
            return
        first = len(active)
        try:
            finished = self._begin(batch, first)
        except EngineError as error:
            if len(batch) == 1:
                yield batch[0].key, GenerationFailure(error.problem)
                return
            for cell in batch:  # a smaller run may work, or only one of them is at fault
                yield from self._begin_all([cell], active, cells)
            return
        active += [cell.key for cell in batch]
        yield from self._finish(active, finished)
        if cells.watched:
            self._tell(active, first, cells)

    def _begin(self, batch: list[PromptedCell], row: int) -> list[int]:
        """Prefill cells into free rows from `row` on and choose their first tokens.

        Returns:
            Batch rows of those that are finished, the last one first.
        """
        turns = self._turns
        turns.begin(row, batch)
        # A prompt is a run over several tokens anyway, so a draft behind it costs little. But a run
        # of more tokens than are bit-exact could accept a token that a step would not choose.
        limit = ANY if self._exact_tokens is None else 0
        rows = row, row + len(batch)
        proposal = turns.propose(rows, limit=limit, positions=ANY, overhead=0.0)
        choices = self._prompts.choose_all(
            self._cache,
            row,
            [cell.prompt for cell in batch],
            drafts=proposal.token_ids[:, 1:],
            banned=proposal.banned,
            choose=proposal.choose,
        )
        return turns.take(choices)

    def _advance(self, active: list[Hashable]) -> Iterator[Outcome]:
        """One step for all active cells; finished ones leave, and their rows are closed up."""
        since = time.perf_counter()
        rows = 0, len(active)
        token_ids, start, furthest, banned, choose = self._turns.propose(
            rows,
            limit=ANY if self._exact_tokens is None else self._exact_tokens - 1,
            positions=self._cache.capacity,
            overhead=self._decoder.multi_token_overhead,
        )
        tokens = token_ids.shape[1]
        self._cache.make_room(furthest + tokens)
        step = self._decoder.bind(self._cache, rows, tokens, tokens)
        step.token_ids[:] = token_ids
        step.write_index[:] = start
        places = np.arange(tokens)
        np.add(step.write_index[:, None], places, out=step.position_ids)
        step.logit_rows[:] = places
        choices = step.choose(banned) if choose is None else choose(step.run())
        finished = self._turns.take(choices)
        self._clock.add("decode", since)
        yield from self._finish(active, finished)

    def _finish(self, active: list[Hashable], rows: list[int]) -> Iterator[Outcome]:
        """Give out the texts of batch rows, from the last one on: the last text fills each gap."""
        for row in rows:
            outcome = active[row], self._turns.outcome(row)
            self._remove(active, row)
            yield outcome

    def _tell(self, active: list[Hashable], first: int, cells: PromptedCells) -> None:
        """Say what the texts from batch row `first` on have so far."""
        for row in range(first, len(active)):
            cells.wrote(active[row], self._turns.tokens(row))

    def _let_go(self, active: list[Hashable], cells: PromptedCells) -> None:
        """Give up the cells whose texts nobody wants any more."""
        for row in range(len(active) - 1, -1, -1):
            if cells.has_left(active[row]):
                self._remove(active, row)

    def _remove(self, active: list[Hashable], row: int) -> None:
        """Take a cell out of the batch; the last row moves into its batch row."""
        last = len(active) - 1
        if row != last:
            sources = list(range(self._cache.rows))
            sources[row] = last
            self._cache.gather(sources, 0, self._turns.cached(last))
        active[row] = active[last]
        del active[last]
        self._turns.remove(row, last)
