"""Cells on their way into the batch of a greedy search: some begin together.

One decision: nothing waits for company. Those that are there and fit run together.
"""

from __future__ import annotations

from c2t.runtime.generation.sequence import Outcome, PromptedCell, PromptedCells


class Arrivals:
    """Cells on their way into the batch, with others whose prompts can run together with theirs.

    Args:
        cells: Where they come from.
        tokens: Most tokens of the prompts of several cells; 0: one cell at a time.
    """

    def __init__(self, cells: PromptedCells, tokens: int) -> None:
        self._cells = cells
        self._tokens = tokens
        self._next: PromptedCell | None = None  # taken, and of another length than those before it

    def take(self, most: int, *, wait: bool) -> tuple[list[Outcome], list[PromptedCell]]:
        """At most `most` cells with prompts of one length, and those that cannot be written.

        Both are empty where no cell is ready or, with `wait`, where no more will come.
        """
        failed: list[Outcome] = []
        batch: list[PromptedCell] = []
        while len(batch) < most:
            cell = self._next or self._cells.take(wait=wait and not (failed or batch))
            self._next = None
            if cell is None:
                break
            if not isinstance(cell, PromptedCell):
                failed.append(cell)
                break
            length = len(cell.prompt)
            others = batch and (
                length != len(batch[0].prompt) or (1 + len(batch)) * length > self._tokens
            )
            if others:
                self._next = cell
                break
            batch.append(cell)
            if 2 * length > self._tokens:
                break
        return failed, batch
