"""Prompts on an engine: what all begin with is run once, each cell adds only its own part.

A prompt is a row of text tokens and cell vectors in any order (`CellPrompt`). Attention looks back
only. So the keys and values of a common beginning are the same for every cell. A cell whose prompt
leaves the beginning early still uses what it shares of it.

Long prompts run in pieces: memory for attention scores and activations grows with the tokens of a
run, and a gene sentence may have thousands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from c2t.runtime.bundle.constant_prefix import ConstantPrefix
from c2t.runtime.engine_protocol import (
    NO_TOKEN,
    PIECE_TOKENS,
    BoundStep,
    Choices,
    DecoderEngine,
    Float32,
    Int32,
    KeyValueCache,
    SavedPrefix,
)
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock

VECTORS_NOT_FINITE = "the cell vectors are not finite"


@dataclass(frozen=True, eq=False)
class CellPrompt:
    """The prompt of one cell.

    Args:
        token_ids: Text tokens [T] int32, `NO_TOKEN` where a cell vector stands.
        vectors: The cell vectors [K,D] in their order; None where there are none.
    """

    token_ids: Int32
    vectors: Float32 | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def counted(self) -> Int32:
        """The text tokens that `generate` would see; see `c2t.runtime.bundle.manifest.Generation`.

        With vectors it would be given `inputs_embeds`, and see none.
        """
        return self.token_ids if self.vectors is None else self.token_ids[:0]

    @property
    def is_finite(self) -> bool:
        """Whether its vectors are; quantised in a decoder, others would look like any."""
        return self.vectors is None or bool(np.isfinite(self.vectors).all())


class PromptRunner:
    """Runs the prompts of cells; what they begin with is run once.

    Args:
        decoder: The engine.
        beginning: Text tokens that most prompts begin with, possibly none.
        clock: Records the stage prefill.
        constant: Keys and values of first tokens that the bundle has stored; these never run.
    """

    def __init__(
        self,
        decoder: DecoderEngine,
        beginning: Sequence[int],
        clock: StageClock | None = None,
        *,
        constant: ConstantPrefix | None = None,
    ) -> None:
        self._clock = clock or StageClock()
        self._decoder = decoder
        if constant is not None and not len(beginning):
            beginning = constant.token_ids
        self._beginning = np.array(beginning, dtype=np.int32)
        self._saved = self._run_beginning(constant)

    def prefill(
        self,
        cache: KeyValueCache,
        row: int,
        prompt: CellPrompt,
        *,
        opening: Sequence[int] = (),
    ) -> Float32:
        """Run the prompt of one cell into a batch row of a cache.

        Args:
            cache: Its capacity must hold the prompt and the opening.
            row: The batch row, which is overwritten.
            prompt: At least one token.
            opening: Text tokens that follow the prompt, whatever the model would choose.

        Returns:
            Logits [V] of the first text token after these; valid until the next run.

        Raises:
            EngineError: The prompt has vectors that are not finite, or a run failed.
        """
        since = time.perf_counter()
        step = self._bind(cache, row, [prompt], [opening], logit_rows=1)
        logits: Float32 = step.run()[0, 0]
        self._record(since)
        return logits

    def choose(
        self,
        cache: KeyValueCache,
        row: int,
        prompt: CellPrompt,
        *,
        draft: Sequence[int],
        banned: Int32,
        choose: Callable[[Float32], Choices] | None = None,
    ) -> Choices:
        """Run the prompt of one cell, and a draft behind it; see `choose_all`."""
        return self.choose_all(cache, row, [prompt], drafts=[draft], banned=banned, choose=choose)

    def choose_all(
        self,
        cache: KeyValueCache,
        row: int,
        prompts: Sequence[CellPrompt],
        *,
        drafts: Sequence[Sequence[int]] | Int32,
        banned: Int32,
        choose: Callable[[Float32], Choices] | None = None,
    ) -> Choices:
        """Run the prompts of B cells, each with a draft behind it, into batch rows of a cache.

        Args:
            cache: Its capacity must hold the prompts and the drafts.
            row: The first of the batch rows, which are overwritten.
            prompts: All of the same length, at least one token.
            drafts: d drafted text tokens of each.
            banned: [B,d+1,N], see `c2t.runtime.engine_protocol.BoundStep.choose`.
            choose: Chooses from the logits [B,d+1,V] instead of the engine.

        Returns:
            Choices [B,d+1]: the first text token, and the one after each drafted token.

        Raises:
            EngineError: A prompt has vectors that are not finite, or a run failed.
        """
        since = time.perf_counter()
        step = self._bind(cache, row, prompts, drafts, logit_rows=1 + len(drafts[0]))
        choices = step.choose(banned) if choose is None else choose(step.run())
        self._record(since)
        return choices

    def _bind(
        self,
        cache: KeyValueCache,
        row: int,
        prompts: Sequence[CellPrompt],
        following: Sequence[Sequence[int]] | Int32,
        *,
        logit_rows: int,
    ) -> BoundStep:
        """The step that ends the cells' prompts, with what follows; all before it has run."""
        if not all(prompt.is_finite for prompt in prompts):
            raise EngineError(VECTORS_NOT_FINITE, hint="run `c2t doctor`")
        length = len(prompts[0])
        cache.make_room(length + len(following[0]))
        first = min(self._shared(prompt) for prompt in prompts)
        if self._saved is not None and first:
            for number in range(len(prompts)):
                cache.load(row + number, self._saved, first)
        last = first + (length - first - 1) // PIECE_TOKENS * PIECE_TOKENS
        for start in range(first, last, PIECE_TOKENS):
            self._piece(cache, row, prompts, start, start + PIECE_TOKENS).run()
        return self._piece(cache, row, prompts, last, length, following, logit_rows)

    def _piece(
        self,
        cache: KeyValueCache,
        row: int,
        prompts: Sequence[CellPrompt],
        start: int,
        stop: int,
        following: Sequence[Sequence[int]] | Int32 = ((),),
        logit_rows: int = 1,
    ) -> BoundStep:
        """A step over the prompts' tokens [start, stop) and what follows; logits of its last."""
        own = stop - start
        tokens = own + len(following[0])
        step = self._decoder.bind(cache, (row, row + len(prompts)), tokens, logit_rows)
        if len(following[0]):
            step.token_ids[:, own:] = following
        for number, prompt in enumerate(prompts):
            step.token_ids[number, :own] = prompt.token_ids[start:stop]
            if prompt.vectors is not None:
                first = np.count_nonzero(prompt.token_ids[:start] == NO_TOKEN)
                places = np.flatnonzero(prompt.token_ids[start:stop] == NO_TOKEN)
                here = prompt.vectors[first : first + len(places)]
                if len(places) and places[-1] - places[0] == len(places) - 1:
                    # Most lie side by side: one copy of memory, a fifth of the time.
                    step.inputs_embeds[number, places[0] : places[-1] + 1] = here
                else:
                    step.inputs_embeds[number, places] = here
        step.position_ids[:] = np.arange(start, start + tokens)
        step.write_index[:] = start
        step.logit_rows[:] = np.arange(tokens - logit_rows, tokens)
        return step

    def _shared(self, prompt: CellPrompt) -> int:
        """How many of a prompt's tokens have run already; at least one is left to run."""
        most = min(len(self._beginning), len(prompt) - 1)
        same = self._beginning[:most] == prompt.token_ids[:most]
        return most if same.all() else int(same.argmin())

    def _record(self, since: float) -> None:
        self._clock.add("prefill", since)
        self._clock.mark("first token")

    def _run_beginning(self, constant: ConstantPrefix | None) -> SavedPrefix | None:
        length = len(self._beginning)
        if not length:
            return None
        cache, first = self._decoder.new_cache(1, length), 0
        if constant is not None and (first := constant.common(self._beginning.tolist())):
            cache.put(0, constant.keys_values[:, :, :, :first])
        beginning = CellPrompt(self._beginning)
        for start in range(first, length, PIECE_TOKENS):
            self._piece(cache, 0, [beginning], start, min(start + PIECE_TOKENS, length)).run()
        return cache.save(0, length)
