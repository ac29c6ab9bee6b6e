"""Turns in native code, for greedy choices of an engine; the same texts and numbers as in Python.

One decision: what it cannot do is seen before the first cell comes, so no text changes hands. A
text that repeats itself in more places than there is memory for gets more memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from c2t.kernels.turns.cpu import TextTurns, TurnSettings
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import Choices
from c2t.runtime.generation.drafts import (
    COST_PER_ROW,
    MEMORY,
    PRIOR,
    TOKEN_COST,
    UNLIKELY,
    Drafter,
    DraftSource,
)
from c2t.runtime.generation.phrase_table import ROOT
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    PromptedCell,
)
from c2t.runtime.generation.turns import Proposal
from c2t.runtime.system.timing import StageClock


class NativeTurns:
    """See `c2t.runtime.generation.turns.Turns`.

    Args:
        generation: Settings.
        rows: Batch rows.
        capacity: Cache positions of each.
        drafter: Proposes tokens; None: one token a step.
        clock: Counts tokens and steps.

    Raises:
        LookupError: Python must do it: there is no library, tokens are chosen from logits, a text
            may end with a stop string, or another drafter proposes.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        rows: int,
        capacity: int,
        drafter: DraftSource | None,
        clock: StageClock,
    ) -> None:
        if generation.needs_logits or generation.stop_strings:
            message = "tokens are looked at in Python"
            raise LookupError(message)
        walk, learned = None, np.zeros(2)
        if drafter is not None:
            # Not of a derived class, which may propose something else.
            if type(drafter) is not Drafter or drafter.walk is None:
                message = "drafts come from Python"
                raise LookupError(message)
            walk, learned = drafter.walk, drafter.learned
        self._clock, self._drafts = clock, walk is not None
        self._texts = TextTurns(
            TurnSettings(
                rows=rows,
                positions=capacity,
                most_tokens=generation.max_new_tokens,
                longest=drafter.longest if drafter else 0,
                ngram=generation.no_repeat_ngram_size,
                end_tokens=generation.eos_token_ids,
                start=drafter.start if isinstance(drafter, Drafter) else ROOT,
                unlikely=UNLIKELY,
                token_cost=TOKEN_COST,
                cost_per_row=COST_PER_ROW,
                memory=MEMORY,
                prior=PRIOR,
            ),
            walk=walk,
            learned=learned,
        )
        self._first = 0  # batch row of the last proposal
        self.tokens, self.cached = self._texts.tokens, self._texts.cached
        self.remove = self._texts.remove

    def begin(self, row: int, cells: Sequence[PromptedCell]) -> None:
        """See `Turns.begin`."""
        for number, cell in enumerate(cells):
            self._texts.begin(row + number, cell.prompt.counted, len(cell.prompt) - 1)

    def propose(
        self, rows: tuple[int, int], *, limit: int, positions: int, overhead: float
    ) -> Proposal:
        """See `Turns.propose`."""
        self._first, end = rows
        token_ids, start, banned, furthest = self._texts.propose(
            self._first, end - self._first, limit=limit, positions=positions, overhead=overhead
        )
        return Proposal(token_ids, start, furthest, banned)

    def take(self, choices: Choices) -> list[int]:
        """See `Turns.take`."""
        new = self._texts.take(choices.tokens, choices.finite)
        if self._drafts:
            self._clock.count("drafted", new.drafted)
            self._clock.count("accepted", new.accepted)
        self._texts.record(choices.probabilities(new.rows, new.places))
        return [self._first + row for row in new.ended]

    def outcome(self, row: int) -> GeneratedSequence | GenerationFailure:
        """See `Turns.outcome`."""
        texts = self._texts
        if texts.failed(row):
            return GenerationFailure(NOT_FINITE)
        steps = texts.steps(row)
        self._clock.count("steps", steps)
        return GeneratedSequence(tuple(texts.tokens(row)), tuple(texts.probabilities(row)), steps)
