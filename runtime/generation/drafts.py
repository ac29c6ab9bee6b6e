"""Drafts: tokens that will probably follow, proposed from the phrase table, verified by the model.

A step over the last token and d drafted ones gives the model's own choice after each of them. The
choices are accepted as long as they equal the draft, and one more after that. These are exactly the
tokens that single steps would give, in fewer steps. A wrong draft costs time, never a token.

How far to draft: a step with d drafted tokens costs about 1 + c * d single steps, and the chance
that the k-th token is reached is the product of the shares before it. A draft goes on as long as
its next token raises the expected tokens per cost. So it reaches through a template to the next
decision, and stops there unless the decision is nearly certain. All cells of a step have the same
number of tokens: a shorter draft would be padded, so it goes on as well.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.drafts.cpu import PhraseArrays, PhraseWalk
from c2t.runtime.engine_protocol import Int32
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.phrase_table import ROOT, PhraseTable

Float64 = NDArray[np.float64]

# Measured (processor time, float32 and int8, 1M to 1B weights): one more token in a step of one
# cell costs 6 to 12 % of a single step, in a step of eight cells 17 to 29 %.
TOKEN_COST = 0.08
COST_PER_ROW = 0.02  # added to it for each further cell
UNLIKELY = 0.04  # no draft goes on below this chance
LONGEST = 32  # tokens of a draft
# How far the table is trusted: a running mean over about a hundred tokens, and what it starts from.
MEMORY = 0.99
PRIOR = 2.0


class Cursor:
    """Where a text stands in the automaton."""

    __slots__ = ("state",)

    def __init__(self, state: int) -> None:
        self.state = state


@dataclass(frozen=True)
class Draft:
    """Proposed tokens.

    Args:
        shares: For each token, the share of the table's captions that go on like this.
        reach: For each token, the chance that it will be accepted.
        states: For each token, the cursor's state behind it; empty where the drafter has none.
        bans: What the n-gram ban forbids before each token and behind the last, as an array [d+1,N]
            padded with -1 or token by token; None where the drafter did not ask.
    """

    tokens: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    reach: tuple[float, ...] = ()
    states: tuple[int, ...] = ()
    bans: tuple[tuple[int, ...], ...] | Int32 | None = None

    def cut(self, length: int) -> Draft:
        """The first `length` tokens, or all."""
        if len(self.tokens) <= length:
            return self
        return Draft(
            self.tokens[:length],
            self.shares[:length],
            self.reach[:length],
            self.states[:length],
            None if self.bans is None else self.bans[: length + 1],
        )


NO_DRAFT = Draft()


class DraftSource(Protocol):
    """Proposes how texts go on."""

    longest: int  # most tokens of a draft

    def begin(self) -> Cursor:
        """The cursor of a text without tokens."""
        ...

    def follow(self, cursor: Cursor, tokens: Sequence[int], draft: Draft) -> None:
        """Move on by tokens of the text; all but the last are those that `draft` begins with."""
        ...

    def propose(self, cursor: Cursor, ban: NgramBan, limit: int) -> Draft:
        """Draft what probably follows.

        Args:
            cursor: Where the text stands.
            ban: The n-gram ban of the text: what is banned is not proposed.
            limit: Most tokens.
        """
        ...

    def learn(self, draft: Draft, accepted: int) -> None:
        """Take note of a draft of which the first `accepted` tokens were right."""
        ...


class Drafter:
    """Proposes continuations, and learns from the model how much they are worth.

    Args:
        table: The phrase table.
        longest: Most tokens of a draft.

    Attributes:
        start: State of a text without tokens.
        learned: [2] accepted tokens, and those that the table's shares promised; both fade.
    """

    def __init__(self, table: PhraseTable, *, longest: int = LONGEST) -> None:
        self.longest = longest
        self.start = table.start
        self._arrays = PhraseArrays(
            table.first_edge, table.token, table.target, table.count, table.shorter, _totals(table)
        )
        self._walk = _native_walk(self._arrays, longest)
        self._edges = None if self._walk else _Edges(self._arrays)
        self.learned: Float64 = np.zeros(2)

    def clone(self) -> Drafter:
        """A drafter over the same table, with nothing learned yet."""
        other = copy.copy(self)
        other._walk = _native_walk(self._arrays, self.longest)
        other.learned = np.zeros(2)
        return other

    @property
    def walk(self) -> PhraseWalk | None:
        """The automaton in native code; None without a library."""
        return self._walk

    @property
    def trust(self) -> float:
        """Accepted tokens divided by those that the table's shares promised; at most 1."""
        hits, expected = self.learned.tolist()
        return float(min(1.0, (hits + PRIOR) / (expected + PRIOR)))

    def begin(self) -> Cursor:
        """The cursor of a text without tokens."""
        return Cursor(self.start)

    def advance(self, cursor: Cursor, token: int) -> None:
        """Move on by one token of the text."""
        walk = self._walk or self._by_definition
        cursor.state = walk.follow(cursor.state, token)

    def follow(self, cursor: Cursor, tokens: Sequence[int], draft: Draft) -> None:
        """See `DraftSource.follow`."""
        if len(tokens) > 1:
            cursor.state = draft.states[len(tokens) - 2]
        self.advance(cursor, tokens[-1])

    def propose(self, cursor: Cursor, ban: NgramBan, limit: int) -> Draft:
        """Draft what probably follows.

        Args:
            cursor: Where the text stands.
            ban: The n-gram ban of the text: what is banned is not proposed.
            limit: Most tokens.
        """
        if self._walk is not None:
            native = self._walk.draft(
                cursor.state,
                ban.sequence,
                ngram=ban.size,
                limit=limit,
                trust=self.trust,
                unlikely=UNLIKELY,
            )
            if native is not None:
                parts = native.tokens, native.shares, native.reach, native.states
                return Draft(*parts, native.banned)
        return self._by_definition.draft(cursor.state, ban, min(limit, self.longest), self.trust)

    def learn(self, draft: Draft, accepted: int) -> None:
        """Update `trust` with a draft of which the first `accepted` tokens were right.

        Steps without a draft count too: wrong drafts are forgotten, and the table is tried again.
        """
        examined = draft.shares[: accepted + 1]  # tokens after a wrong one prove nothing
        hits, expected = self.learned.tolist()
        self.learned[:] = hits * MEMORY + accepted, expected * MEMORY + _sum(examined)

    @property
    def _by_definition(self) -> _Edges:
        """What drafts where there is no library, or it has no draft."""
        if self._edges is None:
            self._edges = _Edges(self._arrays)
        return self._edges


class _Edges:
    """The automaton in Python: the definition of `c2t.kernels.drafts.cpu.PhraseWalk`."""

    def __init__(self, arrays: PhraseArrays) -> None:
        # Python lists: reading one number takes a third of the time that it takes in an array.
        self._first: list[int] = arrays.first_edge.tolist()
        self._token: list[int] = arrays.token.tolist()
        self._target: list[int] = arrays.target.tolist()
        self._count: list[int] = arrays.count.tolist()
        self._shorter: list[int] = arrays.shorter.tolist()
        self._total: list[float] = arrays.total.tolist()
        root = range(self._first[ROOT], self._first[ROOT + 1])
        self._from_root = {self._token[edge]: self._target[edge] for edge in root}

    def draft(self, state: int, ban: NgramBan, limit: int, trust: float) -> Draft:
        """What probably follows; see `PhraseWalk.draft`."""
        chance = 1.0
        tokens: list[int] = []
        shares: list[float] = []
        reach: list[float] = []
        states: list[int] = []
        trial = ban.trial()
        bans = [trial.banned()]
        for _ in range(limit):
            edge, share = self._best(state, bans[-1])
            chance *= share * trust
            if chance < UNLIKELY:
                break
            token, state = self._token[edge], self._target[edge]
            tokens.append(token)
            shares.append(share)
            reach.append(chance)
            states.append(state)
            bans.append(trial.after(token))
        return Draft(tuple(tokens), tuple(shares), tuple(reach), tuple(states), tuple(bans))

    def follow(self, state: int, token: int) -> int:
        """The state behind one more token of the text."""
        while state != ROOT:
            try:
                edge = self._token.index(token, self._first[state], self._first[state + 1])
            except ValueError:
                state = self._shorter[state]
            else:
                return self._target[edge]
        target: int = self._from_root.get(token, ROOT)
        return target

    def _best(self, state: int, banned: tuple[int, ...]) -> tuple[int, float]:
        """The most frequent edge of a state that is not banned, and its share; 0 without any."""
        first, end = self._first[state], self._first[state + 1]
        if state == ROOT or first == end:
            return first, 0.0
        total = self._total[state]
        if not banned:
            return first, self._count[first] / total
        for edge in range(first, end):
            if self._token[edge] not in banned:
                return edge, self._count[edge] / total
            total -= self._count[edge]
        return first, 0.0


def _native_walk(arrays: PhraseArrays, longest: int) -> PhraseWalk | None:
    """The automaton in native code, where there is a library."""
    try:
        return PhraseWalk(arrays, longest)
    except LookupError:
        return None


def common_length(drafts: Sequence[Draft], *, multi_token_overhead: float = 0.0) -> int:
    """Drafted tokens of a step over several cells, with the most expected tokens per cost.

    Args:
        drafts: One for each cell.
        multi_token_overhead: See `c2t.runtime.engine_protocol.DecoderEngine`. A step of several
            cells has several tokens anyway, so drafts add nothing to it there.
    """
    rows = len(drafts)
    each = TOKEN_COST + COST_PER_ROW * (rows - 1)
    extra = multi_token_overhead if rows == 1 else 0.0
    expected = float(rows)  # each cell's own choice, draft or not
    best, best_rate = 0, expected
    reach = zip_longest(*(draft.reach for draft in drafts), fillvalue=0.0)
    for length, chances in enumerate(reach, start=1):
        expected += _sum(chances)
        rate = expected / (1 + extra + each * length)
        if rate > best_rate:
            best, best_rate = length, rate
    return best


def _sum(numbers: Sequence[float]) -> float:
    """One after the other. From Python 3.12 on, `sum` corrects the rounding, as C++ does not."""
    return reduce(add, numbers, 0.0)


def _totals(table: PhraseTable) -> Float64:
    """Tokens seen after each state, and a share for tokens that were never seen there.

    The longer a context, the smaller that share: what followed three given words once may be
    chance, what followed twelve words once is a phrase.
    """
    length = np.zeros(table.states, dtype=np.int64)
    while True:  # once for each token of the longest context
        grown = np.where(np.arange(table.states) == ROOT, 0, length[table.shorter] + 1)
        if (grown == length).all():
            break
        length = grown
    sums = np.concatenate(([0], np.cumsum(table.count, dtype=np.int64)))
    seen = np.diff(sums[table.first_edge])
    totals: Float64 = seen + 1 / (1 + length**2 / 4)
    return totals
