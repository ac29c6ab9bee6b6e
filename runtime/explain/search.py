"""The search for one cell: controls, a screen of groups, single genes, and the check at the end.

One decision: it asks for scores of inputs of equal length only, so that an encoder without a mask
can run them side by side. A cell without one gene is always one shorter; a blanked one is not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.explain.control import Control, make_control, spread_places
from c2t.runtime.explain.evidence import Together
from c2t.runtime.explain.options import DRAWS, TOGETHER, ExplainOptions, make_plan
from c2t.runtime.explain.screen import Group, promising, screen

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]
Tokens = NDArray[np.int32]
# Log probability [N] of the words, given each of N inputs [N,S].
Score = Callable[[Tokens], Float64]


class NotFiniteError(ArithmeticError):
    """The engine's logits were not finite for an input."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """What the runs of one cell gave.

    Args:
        base: Log probability of the words, given the whole cell.
        places: Genes left out one by one, ascending, counted among the cell's genes, [N].
        effects: What the words lose without each, [N].
        controls: Whether each was a control, [N].
        control: What was measured on controls.
        groups: What was blanked: where the screen looked. No figure that is given rests on it.
        together: The check.
        runs: Encoder runs.
    """

    base: float
    places: Indices
    effects: Float64
    controls: NDArray[np.bool_]
    control: Control
    groups: tuple[Group, ...]
    together: Together | None
    runs: int

    @property
    def evidence(self) -> Float64:
        """Effects beyond the shift [N]."""
        return self.effects - self.control.shift[self.places]


class Search:
    """Looks for the evidence of one cell.

    Args:
        tokens: Its gene tokens [S], special tokens included.
        genes: Positions among them that are genes, ascending.
        blank_token: Stands where a rank is blanked.
        options: The budget and the seed.
        score: Scores inputs.
    """

    def __init__(
        self,
        tokens: Tokens,
        genes: Indices,
        *,
        blank_token: int,
        options: ExplainOptions,
        score: Score,
    ) -> None:
        self._tokens, self._genes = tokens, genes
        self._blank_token = blank_token
        self._options = options
        self._score = score
        self._runs = 0
        # By what the cell is, not by where it stands among others.
        self._random = np.random.default_rng([options.seed, zlib.crc32(tokens.tobytes())])

    def run(self) -> Found:
        """Spend the runs.

        Raises:
            NotFiniteError: A score is not a number.
            EngineError: A run failed.
        """
        genes = len(self._genes)
        plan = make_plan(genes, self._options.runs)
        self._base = float(self._scores(self._tokens[None])[0])
        controls = spread_places(genes, plan.controls, self._random)
        effects = self._left_out(controls)
        groups: list[Group] = []
        places = controls
        if not plan.complete:
            groups = screen(genes, plan, self._blanked)
            chosen = promising(groups, plan.chosen, controls)
            places = np.concatenate([controls, chosen])
            effects = np.concatenate([effects, self._left_out(chosen)])
        order = np.argsort(places)
        control = make_control(places[order], effects[order], genes)
        found = Found(
            base=self._base,
            places=places[order],
            effects=effects[order],
            controls=(np.arange(len(places)) < len(controls))[order],
            control=control,
            groups=tuple(groups),
            together=None,
            runs=0,
        )
        together = self._together(found.places[np.argsort(-found.evidence, kind="stable")])
        return Found(**{**vars(found), "together": together, "runs": self._runs})

    def _scores(self, inputs: Tokens) -> Float64:
        self._runs += len(inputs)
        scores = self._score(inputs)
        if not np.isfinite(scores).all():
            raise NotFiniteError
        return scores

    def _left_out(self, places: Indices) -> Float64:
        """What the words lose without the gene of each place."""
        if not len(places):
            return np.empty(0)
        rows = np.stack([np.delete(self._tokens, self._genes[place]) for place in places])
        return self._base - self._scores(rows)

    def _blanked(self, stretches: list[tuple[int, int]]) -> Float64:
        """What log odds the words lose with stretches of places blanked."""
        rows = np.repeat(self._tokens[None], len(stretches), axis=0)
        for row, (first, end) in zip(rows, stretches, strict=True):
            row[self._genes[first:end]] = self._blank_token
        return log_odds(np.array(self._base)) - log_odds(self._scores(rows))

    def _together(self, strongest: Indices) -> Together | None:
        """Leave out the strongest together, and random ones."""
        genes = len(self._genes)
        count = min(TOGETHER, genes // 2)
        if count < 1:
            return None
        sets = [strongest[:count]]
        sets += [self._random.choice(genes, count, replace=False) for _ in range(DRAWS)]
        rows = np.stack([np.delete(self._tokens, self._genes[places]) for places in sets])
        probabilities = np.exp(self._scores(rows))
        base = float(np.exp(self._base))
        return Together(
            genes=count,
            probability=float(probabilities[0]),
            control=float(np.median(probabilities[1:])),
            moved=abs(base - float(probabilities[0])),
            control_moved=float(np.abs(base - probabilities[1:]).mean()),
        )


def log_odds(log_probability: Float64) -> Float64:
    """Log odds, finite for a probability that rounds to 1."""
    below = np.minimum(log_probability, -1e-9)
    odds: Float64 = below - np.log(-np.expm1(below))
    return odds
