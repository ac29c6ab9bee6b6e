"""Beam search with the rules of Hugging Face `generate` (transformers 4.5x, batch of one).

The rules: scores are sums of float32 log probabilities. The n-gram ban comes after the log softmax.
Each step keeps the best `max(2, 1 + EOS ids) * beams` candidates of all beams together. Of these
the first `beams` may finish, with score / length ** length_penalty; the best `beams` unfinished
ones go on. The search ends when no running beam, judged by its present length, can beat the worst
finished one; or, with `early_stopping`, when as many as there are beams have finished; or at the
largest length, where every candidate counts as finished. One that completes a stop string does so
anywhere. A repetition penalty comes before the ban, on log probabilities as well. With
`early_stopping` "never" and a `length_penalty` above 0, a running beam is judged as if it grew to
the largest length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import DecoderEngine, Float32, Int32, Int64
from c2t.runtime.generation.ngram_ban import ban_in_place
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    Outcome,
    PromptedCell,
    PromptedCells,
)
from c2t.runtime.generation.shaped_logits import penalise_in_place
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.generation.top_candidates import best_first, log_softmax_in_place, top_candidates
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

NO_PROMPT: Int32 = np.empty(0, dtype=np.int32)
NEVER = np.float32(-1.0e9)  # the score of what may not be chosen


class BeamSearch:
    """Writes one cell at a time; its beams are the batch rows of one cache.

    Args:
        decoder: The engine.
        prompts: Runs the cells' prompts.
        generation: Settings.
        capacity: Cache positions of a batch row: the longest prompt and `max_new_tokens`.
        stops: The stop strings; None: there are none.
        clock: Records the stage decode, and counts the decoder's runs.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        prompts: PromptRunner,
        *,
        generation: Generation,
        capacity: int,
        stops: StopStrings | None = None,
        clock: StageClock | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._decoder = decoder
        self._prompts = prompts
        self._generation = generation
        self._stops = stops
        self._cache = decoder.growing_cache(generation.num_beams, capacity)

    def run(self, cells: PromptedCells) -> Iterator[Outcome]:
        """Write the cells one after another; yields (key, result)."""
        while (cell := cells.take(wait=True)) is not None:
            if not isinstance(cell, PromptedCell):
                yield cell
                continue
            try:
                # A step is bound once for a whole text, so there is room for all of it.
                self._cache.make_room(len(cell.prompt) + self._generation.max_new_tokens)
                first = self._prompts.prefill(self._cache, 0, cell.prompt)
            except EngineError as error:
                yield cell.key, GenerationFailure(error.problem)
                continue
            since = time.perf_counter()
            result = self._search(
                first,
                cell.prompt,
                has_left=partial(cells.has_left, cell.key),
            )
            self._clock.add("decode", since)
            if result is None:
                continue
            if isinstance(result, GeneratedSequence):
                self._clock.count("steps", result.steps)
            yield cell.key, result

    def _search(
        self, first: Float32, prompt: CellPrompt, *, has_left: Callable[[], bool]
    ) -> GeneratedSequence | GenerationFailure | None:
        """Go on from a prompt in batch row 0 of the cache.

        Args:
            first: Logits [V] of the first text token.
            prompt: What was run.
            has_left: Whether to give up; asked before each step.

        Returns:
            None for a cell that was given up.
        """
        beams = self._generation.num_beams
        if not np.isfinite(first.max()):
            return GenerationFailure(NOT_FINITE)
        before = len(prompt)
        self._cache.gather([0] * beams, 0, before)
        state = BeamState(self._generation, self._stops, prompt.counted)
        origins = state.advance(np.repeat(first[None], beams, axis=0))
        step = self._decoder.bind(self._cache, (0, beams), 1, 1)
        steps = 1
        while origins is not None:
            if has_left():
                return None
            position = before + state.length - 1
            # The prompt is the same in all rows: only what comes after it moves.
            self._cache.gather(origins.tolist(), before, position)
            step.token_ids[:, 0] = state.last_tokens
            step.write_index[:] = position
            step.position_ids[:] = position
            step.logit_rows[:] = 0
            logits = step.run()[:, 0]
            if not np.isfinite(logits.max()):
                return GenerationFailure(NOT_FINITE)
            origins = state.advance(logits)
            steps += 1
        tokens, probabilities = state.best()
        stopped = self._stops is not None and self._stops.complete(tokens, prompt.counted.tolist())
        return GeneratedSequence(tokens, probabilities, steps, stopped)


class BeamState:
    """The running and the finished beams of one cell.

    Args:
        generation: Settings.
        stops: The stop strings; None: there are none.
        prompt: Text tokens [T] that penalty, ban and stop strings count before the text's own.
    """

    def __init__(
        self,
        generation: Generation,
        stops: StopStrings | None = None,
        prompt: Int32 = NO_PROMPT,
    ) -> None:
        beams, longest = generation.num_beams, generation.max_new_tokens
        self._generation = generation
        self._stops = stops
        self._prompt: Int64 = np.tile(prompt.astype(np.int64), (beams, 1))
        self._candidates = max(2, 1 + len(generation.eos_token_ids)) * beams
        self._end = np.asarray(generation.eos_token_ids, dtype=np.int64)
        self.length = 0  # tokens of every running beam
        self._running: Int64 = np.zeros((beams, longest), dtype=np.int64)
        self._running_probability: Float32 = np.zeros((beams, longest), dtype=np.float32)
        # At the start all beams are the same: only the first one counts.
        self._running_score: Float32 = np.full(beams, NEVER, dtype=np.float32)
        self._running_score[0] = 0
        self._finished: Int64 = np.zeros((beams, longest), dtype=np.int64)
        self._finished_probability: Float32 = np.zeros((beams, longest), dtype=np.float32)
        self._finished_length: Int64 = np.zeros(beams, dtype=np.int64)
        self._finished_score: Float32 = np.full(beams, NEVER, dtype=np.float32)
        self._is_finished = np.zeros(beams, dtype=bool)

    @property
    def last_tokens(self) -> Int64:
        """The tokens [beams] to run next."""
        tokens: Int64 = self._running[:, self.length - 1]
        return tokens

    def advance(self, logits: Float32) -> Int64 | None:
        """Choose the next token of every beam.

        Args:
            logits: [beams,V] of the running beams; used up.

        Returns:
            For each new running beam the old one that it continues; None when the search is over.
        """
        length = self.length
        log_softmax_in_place(logits)
        so_far = np.concatenate((self._prompt, self._running[:, :length]), axis=1)
        own = self._penalise(logits, so_far)
        ban_in_place(logits, so_far, self._generation.no_repeat_ngram_size)
        score, origin, token = top_candidates(
            logits + self._running_score[:, None], self._candidates
        )
        sequences = self._running[origin]
        sequences[:, length] = token
        probabilities = self._running_probability[origin]
        probabilities[:, length] = np.exp(own[origin, token])
        ended = np.isin(token, self._end)
        if self._stops is not None:
            before = self._prompt[0].tolist()
            texts = sequences[:, : length + 1].tolist()
            ended |= [self._stops.complete(text, before) for text in texts]
        if length + 1 >= self._generation.max_new_tokens:
            ended[:] = True

        open_score: Float32 = np.where(ended, score + NEVER, score)
        keep = best_first(open_score, len(self._running))
        self._finish(sequences, probabilities, score, ended)
        self._running = sequences[keep]
        self._running_probability = probabilities[keep]
        self._running_score = open_score[keep]
        self.length = length + 1
        over = bool(ended.all()) or not self._can_improve()
        if self._generation.early_stopping is True and self._is_finished.all():
            over = True
        kept: Int64 = origin[keep]
        return None if over else kept

    def _penalise(self, scores: Float32, so_far: Int64) -> Float32:
        """Penalise what each running beam has said; returns the log probabilities before that."""
        penalty = self._generation.repetition_penalty
        if penalty == 1:
            return scores
        own = scores.copy()
        for of_beam, tokens in zip(scores, so_far, strict=True):
            penalise_in_place(of_beam, np.unique(tokens), penalty)
        return own

    def best(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Tokens and probabilities of the best finished beam."""
        length = int(self._finished_length[0])
        return (
            tuple(self._finished[0, :length].tolist()),
            tuple(self._finished_probability[0, :length].tolist()),
        )

    def _finish(
        self, sequences: Int64, probabilities: Float32, score: Float32, ended: NDArray[np.bool_]
    ) -> None:
        """Keep the best of the finished beams and of the candidates that have just ended."""
        beams = len(self._running)
        may_finish = ended & (np.arange(len(ended)) < beams)
        penalty = np.float32(float(self.length + 1) ** self._generation.length_penalty)
        final: Float32 = score / penalty
        if self._generation.early_stopping is True and self._is_finished.all():
            final += NEVER
        final = np.where(may_finish, final, final + NEVER)
        scores = np.concatenate((self._finished_score, final)).astype(np.float32, copy=False)
        best = best_first(scores, beams)
        self._finished_score = scores[best]
        self._finished = np.concatenate((self._finished, sequences))[best]
        self._finished_probability = np.concatenate((self._finished_probability, probabilities))[
            best
        ]
        lengths = np.concatenate((self._finished_length, np.full(len(score), self.length + 1)))
        self._finished_length = lengths[best]
        self._is_finished = np.concatenate((self._is_finished, may_finish))[best]

    def _can_improve(self) -> bool:
        """Whether the best running beam, at its present or largest length, beats a finished one."""
        generation = self._generation
        patient = generation.early_stopping == "never" and generation.length_penalty > 0
        length = generation.max_new_tokens if patient else self.length
        penalty = np.float32(float(length) ** generation.length_penalty)
        possible = self._running_score[0] / penalty
        worst = self._finished_score.min()
        return bool((possible > np.where(self._is_finished, worst, NEVER)).any())
