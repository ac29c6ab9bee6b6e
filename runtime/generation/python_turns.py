"""Turns in Python: the definition of `native_turns`, and what alone knows drawn tokens.

With a repetition penalty, or drawn from a seed, tokens are chosen from the logits
(`c2t.runtime.generation.drawn_choices`); else the engine chooses, and keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import NO_TOKEN, Choices, Float32, Int32, Int64
from c2t.runtime.generation.drafts import NO_DRAFT, Cursor, Draft, DraftSource, common_length
from c2t.runtime.generation.drawn_choices import DrawnChoices, Situation
from c2t.runtime.generation.ngram_ban import NgramBan, banned_array
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    PromptedCell,
)
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.generation.turns import Proposal
from c2t.runtime.system.timing import StageClock


@dataclass
class _Text:
    """The text of one cell, while it is being written."""

    name: str
    length: int  # tokens in the cache: prompt and text, without the text's last token
    ban: NgramBan
    cursor: Cursor | None
    prompt: list[int]  # its tokens that penalty, ban and stop strings count
    seen: set[int]  # tokens of that, and of the text
    draft: Draft = NO_DRAFT
    tokens: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    steps: int = 0
    failed: bool = False
    stopped: bool = False  # a stop string is complete

    def situations(self) -> list[Situation]:
        """What the next choice rests on, and that after each drafted token."""
        drafted = self.draft.tokens
        seen: Int64 = np.fromiter(self.seen, dtype=np.int64, count=len(self.seen))
        return [
            Situation(
                self.name,
                len(self.tokens) + done,
                np.concatenate((seen, np.array(drafted[:done], dtype=np.int64))),
                banned,
            )
            for done, banned in enumerate(self.ban.along(drafted))
        ]


class PythonTurns:
    """See `c2t.runtime.generation.turns.Turns`.

    Args:
        generation: Settings.
        drafter: Proposes tokens; None: one token a step.
        stops: The stop strings; None: there are none.
        clock: Counts tokens and steps.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        drafter: DraftSource | None,
        stops: StopStrings | None,
        clock: StageClock,
    ) -> None:
        self._generation = generation
        self._end = frozenset(generation.eos_token_ids)
        self._drafter = drafter
        self._stops = stops
        self._clock = clock
        self._texts: list[_Text] = []  # by batch row
        self._first = self._stop = 0  # batch rows of the last proposal

    def begin(self, row: int, cells: Sequence[PromptedCell]) -> None:
        """See `Turns.begin`."""
        self._texts[row:] = map(self._new_text, cells)

    def _new_text(self, cell: PromptedCell) -> _Text:
        prompt = cell.prompt.counted.tolist()
        return _Text(
            name=cell.name,
            length=len(cell.prompt) - 1,
            ban=NgramBan(self._generation.no_repeat_ngram_size, prompt),
            cursor=self._drafter.begin() if self._drafter else None,
            prompt=prompt,
            seen=set(prompt),
        )

    def propose(
        self, rows: tuple[int, int], *, limit: int, positions: int, overhead: float
    ) -> Proposal:
        """See `Turns.propose`."""
        self._first, self._stop = rows
        texts = self._texts[self._first : self._stop]
        furthest = max(text.length for text in texts)
        self._draft(texts, min(limit, positions - furthest - 1), multi_token_overhead=overhead)
        tokens = 1 + max(len(text.draft.tokens) for text in texts)
        return Proposal(
            np.array([_step_tokens(text, tokens) for text in texts], np.int32),
            np.array([text.length for text in texts], np.int64),
            furthest,
            _banned(texts, tokens),
            partial(self._draw, texts) if self._generation.needs_logits else None,
        )

    def _draft(self, texts: list[_Text], room: int, *, multi_token_overhead: float) -> None:
        """Draft for each text.

        Args:
            room: Most tokens of a draft: the cache positions that the longest text has left.
            multi_token_overhead: See `common_length`.
        """
        if self._drafter is None:
            return
        most = self._generation.max_new_tokens - 1
        drafts = [
            # The last token of a text is never drafted: its step would give a token too many.
            self._drafter.propose(text.cursor, text.ban, min(room, most - len(text.tokens)))
            for text in texts
            if text.cursor is not None
        ]
        length = common_length(drafts, multi_token_overhead=multi_token_overhead)
        for text, draft in zip(texts, drafts, strict=True):
            text.draft = draft.cut(length)

    def take(self, choices: Choices) -> list[int]:
        """See `Turns.take`."""
        texts = self._texts[self._first : self._stop]
        chosen, finite = choices.tokens.tolist(), choices.finite.tolist()
        rows: list[int] = []
        places: list[int] = []
        drafted = accepted = 0
        for number, text in enumerate(texts):
            text.steps += 1
            new = self._write(text, chosen[number], finite[number])
            rows += [number] * len(new)
            places += range(len(new))
            if self._drafter is not None and not text.failed:
                self._drafter.learn(text.draft, len(new) - 1)
                drafted += len(text.draft.tokens)
                accepted += len(new) - 1
        if self._drafter is not None:
            self._clock.count("drafted", drafted)
            self._clock.count("accepted", accepted)
        named = np.array(rows, np.int64), np.array(places, np.int64)
        self._record(texts, choices.probabilities(*named).tolist())
        ended = (row for row in range(self._first, self._stop) if self._is_finished(row))
        return list(ended)[::-1]

    def _draw(self, texts: list[_Text], logits: Float32) -> Choices:
        """Choose for each text from its logits [B,T,V]."""
        return DrawnChoices(logits, [text.situations() for text in texts], self._generation)

    def _write(self, text: _Text, chosen: list[int], finite: list[bool]) -> list[int]:
        """Add the model's choices to a text: those that equal its draft, and the one behind them.

        Returns:
            The tokens that were added.
        """
        before, draft = len(text.tokens), text.draft.tokens
        new = chosen[: len(draft) + 1]
        all_right = tuple(new[:-1]) == draft and all(finite[: len(new)])
        room = self._generation.max_new_tokens - before
        if all_right and len(new) <= room and self._stops is None and self._end.isdisjoint(new):
            text.tokens += new  # as most are
        else:
            self._write_some(text, chosen, finite)
            new = text.tokens[before:]
        text.ban.extend(new)
        text.length += len(new)
        text.seen.update(new)
        if new and self._drafter is not None and text.cursor is not None:
            self._drafter.follow(text.cursor, new, text.draft)
        return new

    def _write_some(self, text: _Text, chosen: list[int], finite: list[bool]) -> None:
        """The same, token by token."""
        most, end = self._generation.max_new_tokens, self._end
        for token, is_finite, drafted in zip(
            chosen, finite, (*text.draft.tokens, NO_TOKEN), strict=False
        ):
            if not is_finite:
                text.failed = True
                break
            text.tokens.append(token)
            if self._stops is not None:
                text.stopped = self._stops.complete(text.tokens, text.prompt)
            finished = text.stopped or token in end or len(text.tokens) >= most
            if token != drafted or finished:
                break

    def _record(self, texts: list[_Text], probabilities: list[float]) -> None:
        """Append the probabilities of the new tokens to their texts."""
        first = 0
        for text in texts:
            new = len(text.tokens) - len(text.probabilities)
            text.probabilities += probabilities[first : first + new]
            first += new
        assert first == len(probabilities)

    def _is_finished(self, row: int) -> bool:
        text = self._texts[row]
        return (
            text.failed
            or text.stopped
            or text.tokens[-1] in self._end
            or len(text.tokens) >= self._generation.max_new_tokens
        )

    def outcome(self, row: int) -> GeneratedSequence | GenerationFailure:
        """See `Turns.outcome`."""
        text = self._texts[row]
        if text.failed:
            return GenerationFailure(NOT_FINITE)
        self._clock.count("steps", text.steps)
        return GeneratedSequence(
            tuple(text.tokens), tuple(text.probabilities), text.steps, text.stopped
        )

    def remove(self, row: int, last: int) -> None:
        """See `Turns.remove`."""
        self._texts[row] = self._texts[last]
        del self._texts[last]

    def cached(self, row: int) -> int:
        """See `Turns.cached`."""
        return self._texts[row].length

    def tokens(self, row: int) -> Sequence[int]:
        """See `Turns.tokens`."""
        return self._texts[row].tokens


def _step_tokens(text: _Text, count: int) -> tuple[int, ...]:
    """What a step runs over: the last token of a text, its draft, and padding.

    For padding any token does: its logits are not used.
    """
    last = text.tokens[-1] if text.tokens else 0
    return (last, *text.draft.tokens, *(0,) * (count - 1 - len(text.draft.tokens)))


def _banned(texts: list[_Text], logit_rows: int) -> Int32:
    """Tokens [B,R,N] that the n-gram ban forbids B texts at each of R logit rows."""
    bans = [
        text.ban.along(text.draft.tokens) if text.draft.bans is None else text.draft.bans
        for text in texts
    ]
    return banned_array(bans, logit_rows)
