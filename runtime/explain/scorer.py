"""The log probability of words, given one input of the encoder after another.

One decision: inputs run in batches of equal length, as when cells are described, and the words are
scored by the scorer of candidates. So a cell's numbers depend on the batch by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.engine_protocol import ENCODER_BATCH_TOKENS, Engines
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.generation.candidate_trie import CandidateTrie
from c2t.runtime.generation.scoring import CandidateScorer
from c2t.runtime.system.timing import StageClock

Float64 = NDArray[np.float64]
Tokens = NDArray[np.int32]


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredWords:
    """Words at one place of a text.

    Args:
        words: What they say.
        trie: Their token paths, behind the text before them.
        combine: Log probability [N] of the words, from those [N,P] of the paths.
    """

    words: str
    trie: CandidateTrie
    combine: Callable[[Float64], Float64]


class WordScorer:
    """Scores words in one thread.

    Args:
        bundle: Has the prompt.
        engines: The thread's own.
        rows: Most inputs that run together.
        capacity: Cache positions; None: as many as are needed.
        clock: Records the stages.
    """

    def __init__(
        self,
        bundle: Bundle,
        engines: Engines,
        *,
        rows: int,
        capacity: int | None,
        clock: StageClock,
    ) -> None:
        self._engines = engines
        self._rows = rows
        self._prompts = bundle_prompts(bundle)
        with engines.exclusive():
            prompts = self._prompts.runner(engines.decoder, clock)
            self._scorer = CandidateScorer(
                engines.decoder, prompts, rows=rows, capacity=capacity, clock=clock
            )

    def score(
        self,
        inputs: Tokens,
        words: ScoredWords,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> Float64:
        """Log probability [N] of the words, given each of N inputs [N,S]; NaN where not finite.

        Args:
            inputs: Gene tokens.
            words: What is scored.
            advance: Told of the inputs that are done, some rows at a time. What it raises ends the
                work, with the engines free.

        Raises:
            EngineError: A run failed.
        """
        most = max(1, min(self._rows, ENCODER_BATCH_TOKENS // inputs.shape[1]))
        scores = []
        for first in range(0, len(inputs), self._rows):
            rows = np.ascontiguousarray(inputs[first : first + self._rows], dtype=np.int32)
            with self._engines.exclusive():
                given = [
                    self._prompts.of_vectors(of_input)
                    for start in range(0, len(rows), most)
                    for of_input in self._engines.encoder.encode(rows[start : start + most])
                ]
                scores.append(words.combine(self._scorer.score(given, words.trie)))
            advance(len(rows))
        return np.concatenate(scores)
