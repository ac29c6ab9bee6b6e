"""A decoder that runs every step and then writes what a script says, and drafts to match.

One decision: a token of a script says which text it belongs to and which place it has. So a step
needs no memory: what follows a token is the next token of its text, whatever row of a batch it is
in, and everything around the decoder is the real thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from c2t.runtime.bench.whole.acceptance import Acceptance
from c2t.runtime.engine_protocol import (
    NO_TOKEN,
    BoundStep,
    Choices,
    DecoderEngine,
    Floats,
    Int32,
    Int64,
    KeyValueCache,
)
from c2t.runtime.generation.drafts import LONGEST, Cursor, Draft
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.system.errors import C2TError


class Script:
    """Texts of tokens that no two texts share.

    Args:
        acceptance: Lengths of the texts, and their drafts. Texts beyond what the vocabulary can
            number are left out.
        vocabulary_size: Of the decoder.
        eos: Tokens that end a text; every text ends with the first.

    Attributes:
        texts: [texts] the tokens of each.
        cell: Number of the text that the next cell gets, which counts on.

    Raises:
        C2TError: The vocabulary is too small for a single text.
    """

    def __init__(self, acceptance: Acceptance, *, vocabulary_size: int, eos: Sequence[int]) -> None:
        longest = max(len(text.drafted) for text in acceptance.texts)
        ids = [token for token in range(vocabulary_size) if token not in eos]
        count = min(len(acceptance.texts), (len(ids) - 1) // longest)
        if count < 1:
            problem = f"a vocabulary of {vocabulary_size} has no text of {longest} different tokens"
            raise C2TError(problem, hint="take a bundle with a larger vocabulary")
        self.recorded = acceptance.texts[:count]
        self.texts = [
            [*ids[n * longest : n * longest + len(text.drafted) - 1], eos[0]]
            for n, text in enumerate(self.recorded)
        ]
        self.wrong = ids[-1]  # no token of any text
        self.cell = -1
        self._next = np.full(vocabulary_size, eos[0], dtype=np.int64)
        for text in self.texts:
            self._next[text[:-1]] = text[1:]

    def begin(self) -> int:
        """Number of the text of a new cell."""
        self.cell += 1
        return self.cell % len(self.texts)

    def following(self, tokens: Int64) -> Int64:
        """What follows each token; of `NO_TOKEN`, the beginning of the current cell's text."""
        first = self.texts[self.cell % len(self.texts)][0]
        following: Int64 = np.where(tokens == NO_TOKEN, first, self._next[tokens])
        return following


class ScriptedCursor(Cursor):
    """Where a text stands: its number, and its tokens so far as the state."""

    __slots__ = ("text",)

    def __init__(self, text: int) -> None:
        super().__init__(0)
        self.text = text


class ScriptedDrafter:
    """Proposes what was recorded: as many tokens, of which as many are right.

    See `c2t.runtime.generation.drafts.DraftSource`.
    """

    longest = LONGEST

    def __init__(self, script: Script) -> None:
        self._script = script

    def begin(self) -> ScriptedCursor:
        """See `DraftSource.begin`."""
        return ScriptedCursor(self._script.begin())

    def follow(self, cursor: Cursor, tokens: Sequence[int], draft: Draft) -> None:
        """See `DraftSource.follow`."""
        cursor.state += len(tokens)

    def propose(self, cursor: Cursor, ban: NgramBan, limit: int) -> Draft:
        """See `DraftSource.propose`. Recorded drafts are as long as one cell wants them."""
        assert isinstance(cursor, ScriptedCursor)
        text, recorded = self._script.texts[cursor.text], self._script.recorded[cursor.text]
        if cursor.state >= len(text):
            return Draft()
        length = min(limit, recorded.drafted[cursor.state])
        right = min(length, recorded.right[cursor.state])
        tokens = text[cursor.state : cursor.state + right]
        tokens = [*tokens, *[self._script.wrong] * (length - right)]
        certain = (1.0,) * length
        return Draft(tuple(tokens), certain, certain)

    def learn(self, draft: Draft, accepted: int) -> None:
        """See `DraftSource.learn`: nothing changes what was recorded."""


class ScriptedDecoder:
    """A decoder whose choices are replaced by a script's, after they were computed.

    See `c2t.runtime.engine_protocol.DecoderEngine`.

    Args:
        decoder: Runs the steps.
        script: What is written.
        drafts: Whether a drafter begins the texts; else each prompt begins one.
    """

    def __init__(self, decoder: DecoderEngine, script: Script, *, drafts: bool) -> None:
        self._decoder, self._script, self._drafts = decoder, script, drafts
        self.multi_token_overhead = decoder.multi_token_overhead
        self.max_bit_exact_rows = decoder.max_bit_exact_rows
        self.prompt_batch_tokens = 0  # a prompt begins a text of the script

    def new_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """See `DecoderEngine.new_cache`."""
        return self._decoder.new_cache(rows, capacity)

    def growing_cache(self, rows: int, capacity: int) -> KeyValueCache:
        """See `DecoderEngine.growing_cache`."""
        return self._decoder.growing_cache(rows, capacity)

    def bind(
        self, cache: KeyValueCache, rows: tuple[int, int], tokens: int, logit_rows: int
    ) -> BoundStep:
        """See `DecoderEngine.bind`."""
        step = self._decoder.bind(cache, rows, tokens, logit_rows)
        return _ScriptedStep(step, self._script, begins=not self._drafts)

    def clone(self) -> ScriptedDecoder:
        """See `DecoderEngine.clone`."""
        return ScriptedDecoder(self._decoder.clone(), self._script, drafts=self._drafts)


class _ScriptedStep:
    """A bound step; all but `choose` is the engine's own."""

    def __init__(self, step: BoundStep, script: Script, *, begins: bool) -> None:
        self._step, self._script, self._begins = step, script, begins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)

    def choose(self, banned: Int32) -> Choices:
        """See `BoundStep.choose`."""
        choices = self._step.choose(banned)
        ids: Int64 = self._step.token_ids.astype(np.int64)
        last = np.take_along_axis(ids, self._step.logit_rows, axis=1)
        if self._step.token_ids[0, 0] == NO_TOKEN:  # a prompt: the first text token follows it
            if self._begins:
                self._script.begin()
            last[:, 0] = NO_TOKEN
        return _ScriptedChoices(choices, self._script.following(last))


@dataclass(frozen=True)
class _ScriptedChoices:
    """Choices of a script; their probabilities are those of the engine's own choices."""

    choices: Choices
    tokens: Int64

    @property
    def finite(self) -> Any:
        """See `Choices.finite`."""
        return self.choices.finite

    def probabilities(self, rows: Int64, logit_rows: Int64) -> Floats:
        """See `Choices.probabilities`."""
        return self.choices.probabilities(rows, logit_rows)
