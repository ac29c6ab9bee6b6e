"""The merges of byte-pair encoding: which neighbouring text tokens become one, and in what order.

One decision: pairs are kept as sorted numbers, not as pairs of words. Gemma-2's tokenizer has
580,000 of them: as a table of words they took 300 MB and most of the time of opening a bundle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise, repeat
from operator import add

import numpy as np

from c2t.runtime.system.errors import BundleError

Pair = str | tuple[str, str]  # "a b" in older files
SHIFT = 32  # a text token is less than 2**31, so a pair of them is one int64


class Merges:
    """Merges of a vocabulary.

    Args:
        vocabulary: The text token of each word, no two of them the same.
        pairs: The words that are joined, in the order in which this is done. Where a pair comes
            twice, the first place counts.
        mark: What stands for a space; "": no letter does.
        name: The file, for the error's text.
        hint: How to mend it.

    Attributes:
        crosses: Whether a pair reaches over a mark into the next word.

    Raises:
        BundleError: Two words become one that the vocabulary does not have.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        pairs: Sequence[Pair],
        *,
        mark: str = "",
        name: str = "",
        hint: str = "",
    ) -> None:
        lefts, rights = [""] * len(pairs), [""] * len(pairs)
        for rank, pair in enumerate(pairs):
            lefts[rank], _, rights[rank] = (
                pair.partition(" ") if isinstance(pair, str) else (pair[0], "", pair[1])
            )
        self.crosses = bool(mark) and any(
            mark in word.lstrip(mark) for word in map(add, lefts, rights)
        )
        # Text tokens by rank, -1 where there is none.
        left, right, joined = (
            np.fromiter(map(vocabulary.get, words, repeat(-1)), np.int64, len(pairs))
            for words in (lefts, rights, map(add, lefts, rights))
        )
        if len(strangers := np.flatnonzero(joined < 0)):
            word = (lefts[strangers[0]] + rights[strangers[0]])[:40]
            problem = f"{name} joins two words to one that it does not have: {word!r}"
            raise BundleError(problem, hint=hint)
        # A pair of a word without a token can never come up.
        usable = np.flatnonzero((left >= 0) & (right >= 0))
        keys, first = np.unique((left << SHIFT | right)[usable], return_index=True)
        self._keys, self._ranks = memoryview(keys), usable[first].astype(np.int32)
        self._joined = joined.astype(np.int32)
        self._none = len(pairs)

    def apply(self, tokens: list[int]) -> list[int]:
        """Join neighbours of a piece, the pair of the lowest rank first, until none is left."""
        ranks = [self._rank(left, right) for left, right in pairwise(tokens)]
        while ranks and (best := min(ranks)) < self._none:
            at = ranks.index(best)
            tokens[at : at + 2] = [int(self._joined[best])]
            del ranks[at]
            if at:
                ranks[at - 1] = self._rank(tokens[at - 1], tokens[at])
            if at < len(ranks):
                ranks[at] = self._rank(tokens[at], tokens[at + 1])
        return tokens

    def _rank(self, left: int, right: int) -> int:
        """Of a pair; more than every rank where it is not joined."""
        key = left << SHIFT | right
        at = bisect_left(self._keys, key)
        found = at < len(self._keys) and self._keys[at] == key
        return int(self._ranks[at]) if found else self._none
