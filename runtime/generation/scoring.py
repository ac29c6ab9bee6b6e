"""The exact log probability of candidates' tokens after a cell's prompt and a caption's opening.

Two decisions. Cells walk the trie (`c2t.runtime.generation.candidate_trie`) side by side, a batch
row each, so that a run has as many tokens as there are cells; where there are fewer cells than
rows, several rows divide a cell's trie. And what a run has to do never depends on what the cells
are, so a cell's numbers do not depend on those beside it by more than an engine's rounding.

The probability is the model's own softmax, without the n-gram ban.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.engine_protocol import DecoderEngine, Float32, Int64, KeyValueCache
from c2t.runtime.generation.candidate_trie import CandidateTrie, TrieStep
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

Float64 = NDArray[np.float64]
# Nodes that a row should at least run: a further row of a cell costs a copy of the prompt.
NODES_PER_ROW = 8


class CandidateScorer:
    """Scores candidates in one thread.

    Args:
        decoder: The engine.
        prompts: Runs the cells' prompts, with the same engine.
        rows: Most batch rows of a run. Engines of a fixed shape take no more than they were
            opened for.
        capacity: Cache positions of a batch row: the longest prompt, opening and path. None: as
            many as are needed, which engines of a fixed shape do not take.
        clock: Records the stages prefill and score, and counts the decoder's runs.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompts: PromptRunner,
        *,
        rows: int = 16,
        capacity: int | None = None,
        clock: StageClock | None = None,
    ) -> None:
        self._decoder = decoder
        self._prompts = prompts
        self._rows = rows
        self._fixed = capacity is not None
        self._capacity = capacity or 0
        self._clock = clock or StageClock()
        self._cache: KeyValueCache | None = None
        self._steps: tuple[CandidateTrie, int, list[TrieStep]] | None = None

    def score(self, prompts: Sequence[CellPrompt], trie: CandidateTrie) -> Float64:
        """Log probability of each path of a trie for each cell.

        Args:
            prompts: Of B cells; their lengths may differ.
            trie: The candidates.

        Returns:
            [B,P], natural logarithms; NaN for a cell whose vectors or logits are not finite.

        Raises:
            EngineError: A run failed, or the paths are longer than the cache.
        """
        parts = [
            self._score_together(prompts[first : first + self._rows], trie)
            for first in range(0, len(prompts), self._rows)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(trie.paths)))

    def _score_together(self, cells: Sequence[CellPrompt], trie: CandidateTrie) -> Float64:
        """As `score`, of at most as many cells as there are rows."""
        each = max(1, min(self._rows // len(cells), trie.runs // NODES_PER_ROW))
        lengths = [len(prompt) + len(trie.opening) for prompt in cells]
        cache = self._room(max(lengths) + trie.depth)
        of_nodes = np.zeros((len(cells), trie.nodes))
        tokens, nodes = trie.first
        zeros = np.zeros(len(tokens), dtype=np.int64)
        for cell, prompt in enumerate(cells):
            if not prompt.is_finite:
                of_nodes[cell, nodes] = np.nan
                continue
            logits = self._prompts.prefill(cache, cell * each, prompt, opening=trie.opening)
            of_nodes[cell, nodes] = _log_probabilities(logits[None, None], zeros, zeros, tokens)
        since = time.perf_counter()
        if each > 1:
            sources = [row // each * each for row in range(len(cells) * each)]
            cache.gather([*sources, *range(len(sources), cache.rows)], 0, max(lengths))
        steps = self._planned(trie, each)
        for step in steps:
            self._run(cache, step, first=np.repeat(lengths, each), of_nodes=of_nodes)
        self._clock.add("score", since)
        self._clock.count("steps", len(steps) + len(cells))
        of_nodes[np.isnan(of_nodes).any(axis=1)] = np.nan
        return trie.path_scores(of_nodes)

    def _run(
        self, cache: KeyValueCache, planned: TrieStep, *, first: Int64, of_nodes: Float64
    ) -> None:
        """Run one step for all cells, and note the probabilities of the nodes after it.

        Args:
            first: The cache position behind each batch row's opening.
        """
        cells = len(of_nodes)
        each, length = planned.tokens.shape
        step = self._decoder.bind(cache, (0, cells * each), length, length)
        step.token_ids[:] = np.tile(planned.tokens, (cells, 1))
        step.write_index[:] = first + np.tile(planned.starts, cells)
        step.position_ids[:] = step.write_index[:, None] + np.arange(length)
        step.logit_rows[:] = np.arange(length)
        logits = step.run()
        count = len(planned.nodes)
        cell = np.repeat(np.arange(cells), count)
        found = _log_probabilities(
            logits,
            cell * each + np.tile(planned.rows, cells),
            np.tile(planned.places, cells),
            np.tile(planned.nexts, cells),
        )
        of_nodes[cell, np.tile(planned.nodes, cells)] = found

    def _room(self, capacity: int) -> KeyValueCache:
        """A cache with so many positions."""
        if self._cache is None or self._cache.capacity < capacity:
            if self._fixed and capacity > self._capacity:
                problem = f"candidates need {capacity} cache positions; there are {self._capacity}"
                raise EngineError(problem, hint="give shorter labels")
            self._cache = self._decoder.new_cache(self._rows, max(capacity, self._capacity))
        return self._cache

    def _planned(self, trie: CandidateTrie, each: int) -> list[TrieStep]:
        if self._steps is None or self._steps[:2] != (trie, each):
            self._steps = (trie, each, trie.steps(each) if trie.runs else [])
        return self._steps[2]


def _log_probabilities(logits: Float32, rows: Int64, places: Int64, tokens: Int64) -> Float64:
    """Log probabilities of some tokens, in float64; NaN where the logits are not finite.

    Args:
        logits: [B,T,V]; used up.
        rows: [N].
        places: [N], of T.
        tokens: [N], of V.
    """
    _, length, vocabulary = logits.shape
    flat = logits.reshape(-1, vocabulary)
    wanted = rows * length + places
    chosen = flat[wanted, tokens].astype(np.float64)
    top = flat.max(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        flat -= top[:, None]
        np.exp(flat, out=flat)
        total = flat.sum(axis=1, dtype=np.float64)
        scores: Float64 = chosen - top[wanted] - np.log(total[wanted])
        scores[~np.isfinite(top[wanted])] = np.nan
    return scores
