"""Greedy search over a batch whose free rows are filled again (continuous batching).

The cells that are being written always have the first batch rows of the cache, so a step runs over
exactly these. Each row has its own position and its own draft, so no cell waits for another or sees
it. The number of rows can change the rounding of a float32 matrix product in its last bits, and
with it a choice between two tokens that are equally likely to six digits.

With a repetition penalty, or drawn from a seed, tokens are chosen here from the logits
(`c2t.runtime.generation.drawn_choices`); else the engine chooses, and keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.engine_protocol import NO_TOKEN, Choices, DecoderEngine, Float32, Int32, Int64
from c2t.runtime.generation.drafts import NO_DRAFT, Cursor, Draft, DraftSource, common_length
from c2t.runtime.generation.drawn_choices import DrawnChoices, Situation
from c2t.runtime.generation.ngram_ban import NgramBan, banned_array
from c2t.runtime.generation.prompt import PromptRunner
from c2t.runtime.generation.sequence import (
    NOT_FINITE,
    GeneratedSequence,
    GenerationFailure,
    Outcome,
    PromptedCell,
    PromptedCells,
)
from c2t.runtime.generation.stop_strings import StopStrings
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.timing import StageClock


@dataclass
class _Text:
    """The text of one cell, while it is being written."""

    key: Hashable
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
        self._generation = generation
        self._end = frozenset(generation.eos_token_ids)
        self._size = rows
        self._drafter = drafter
        self._stops = stops
        self._clock = clock or StageClock()
        self._cache = decoder.growing_cache(rows, capacity)
        # The limit is too low for several cells with a draft each, so only a single cell keeps it.
        self._exact_tokens = decoder.max_bit_exact_rows if rows == 1 else None

    def run(self, cells: PromptedCells) -> Iterator[Outcome]:
        """Write the cells; yields (key, result) in the order in which they are finished."""
        active: list[_Text] = []
        arrivals = _Arrivals(cells, self._decoder.prompt_batch_tokens)
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
            for text in active:
                cells.wrote(text.key, text.tokens)
            self._let_go(active, cells)

    def _begin_all(
        self, batch: list[PromptedCell], active: list[_Text], cells: PromptedCells
    ) -> Iterator[Outcome]:
        """Begin cells in the free rows behind the active ones; those that are finished leave."""
        first = len(active)
        try:
            active += self._begin(batch, first) if batch else []
        except EngineError as error:
            if len(batch) == 1:
                yield batch[0].key, GenerationFailure(error.problem)
                return
            for cell in batch:  # a smaller run may work, or only one of them is at fault
                yield from self._begin_all([cell], active, cells)
            return
        for row in range(len(active) - 1, first - 1, -1):
            if self._is_finished(active[row]):
                yield self._outcome(self._remove(active, row))
        for text in active[first:]:
            cells.wrote(text.key, text.tokens)

    def _begin(self, batch: list[PromptedCell], row: int) -> list[_Text]:
        """Prefill cells into free rows from `row` on and choose their first tokens."""
        texts = [self._new_text(cell) for cell in batch]
        # A prompt is a run over several tokens anyway, so a draft behind it costs little. But a run
        # of more tokens than are bit-exact could accept a token that a step would not choose.
        if self._exact_tokens is None:
            self._propose(texts, self._generation.max_new_tokens, multi_token_overhead=0.0)
        length = max(len(text.draft.tokens) for text in texts)
        choices = self._prompts.choose_all(
            self._cache,
            row,
            [cell.prompt for cell in batch],
            drafts=[_padded(text.draft.tokens, length) for text in texts],
            banned=_banned(texts, 1 + length),
            choose=partial(self._draw, texts) if self._generation.needs_logits else None,
        )
        self._take(texts, choices)
        return texts

    def _new_text(self, cell: PromptedCell) -> _Text:
        prompt = cell.prompt.counted.tolist()
        return _Text(
            key=cell.key,
            name=cell.name,
            length=len(cell.prompt) - 1,
            ban=NgramBan(self._generation.no_repeat_ngram_size, prompt),
            cursor=self._drafter.begin() if self._drafter else None,
            prompt=prompt,
            seen=set(prompt),
        )

    def _advance(self, active: list[_Text]) -> Iterator[Outcome]:
        """One step for all active cells; finished ones leave, and their rows are closed up."""
        since = time.perf_counter()
        rows = len(active)
        room = self._cache.capacity - max(text.length for text in active) - 1
        if self._exact_tokens is not None:
            room = min(room, self._exact_tokens - 1)
        self._propose(active, room, multi_token_overhead=self._decoder.multi_token_overhead)
        tokens = 1 + max(len(text.draft.tokens) for text in active)
        self._cache.make_room(max(text.length for text in active) + tokens)
        step = self._decoder.bind(self._cache, (0, rows), tokens, tokens)
        step.token_ids[:] = [
            _padded((text.tokens[-1], *text.draft.tokens), tokens) for text in active
        ]
        step.write_index[:] = [text.length for text in active]
        places = np.arange(tokens)
        np.add(step.write_index[:, None], places, out=step.position_ids)
        step.logit_rows[:] = places
        if self._generation.needs_logits:
            self._take(active, self._draw(active, step.run()))
        else:
            self._take(active, step.choose(_banned(active, tokens)))
        self._clock.add("decode", since)
        for row in range(rows - 1, -1, -1):  # from the end: the last row fills each gap
            if self._is_finished(active[row]):
                yield self._outcome(self._remove(active, row))

    def _let_go(self, active: list[_Text], cells: PromptedCells) -> None:
        """Give up the cells whose texts nobody wants any more."""
        for row in range(len(active) - 1, -1, -1):
            if cells.has_left(active[row].key):
                self._remove(active, row)

    def _remove(self, active: list[_Text], row: int) -> _Text:
        """Take a cell out of the batch; the last row moves into its batch row."""
        text, last = active[row], active.pop()
        if last is not text:
            active[row] = last
            self._move(len(active), row, last.length)
        return text

    def _propose(self, texts: list[_Text], room: int, *, multi_token_overhead: float) -> None:
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

    def _take(self, texts: list[_Text], choices: Choices) -> None:
        """Append the model's choices to each text: those that confirm its draft, and one more.

        Args:
            texts: The texts of B batch rows.
            choices: [B,T], after the last token and after each drafted one.
        """
        chosen, finite = choices.tokens.tolist(), choices.finite.tolist()
        rows: list[int] = []
        logit_rows: list[int] = []
        drafted = accepted = 0
        for number, text in enumerate(texts):
            text.steps += 1
            new = self._write(text, chosen[number], finite[number])
            rows += [number] * len(new)
            logit_rows += range(len(new))
            if self._drafter is not None and not text.failed:
                self._drafter.learn(text.draft, len(new) - 1)
                drafted += len(text.draft.tokens)
                accepted += len(new) - 1
        if self._drafter is not None:
            self._clock.count("drafted", drafted)
            self._clock.count("accepted", accepted)
        self._record(texts, choices.probabilities(rows, logit_rows))

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

    def _is_finished(self, text: _Text) -> bool:
        return (
            text.failed
            or text.stopped
            or text.tokens[-1] in self._end
            or len(text.tokens) >= self._generation.max_new_tokens
        )

    def _outcome(self, text: _Text) -> Outcome:
        if text.failed:
            return text.key, GenerationFailure(NOT_FINITE)
        self._clock.count("steps", text.steps)
        return text.key, GeneratedSequence(
            tuple(text.tokens), tuple(text.probabilities), text.steps, text.stopped
        )

    def _move(self, source: int, target: int, length: int) -> None:
        sources = list(range(self._cache.rows))
        sources[target] = source
        self._cache.gather(sources, 0, length)


class _Arrivals:
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


def _banned(texts: list[_Text], logit_rows: int) -> Int32:
    """Tokens [B,R,N] that the n-gram ban forbids B texts at each of R logit rows."""
    bans = [
        text.ban.along(text.draft.tokens) if text.draft.bans is None else text.draft.bans
        for text in texts
    ]
    return banned_array(bans, logit_rows)


def _padded(tokens: Sequence[int], length: int) -> tuple[int, ...]:
    """Tokens and padding, for which any token does: its logits are not used."""
    return (*tokens, *(0,) * (length - len(tokens)))
