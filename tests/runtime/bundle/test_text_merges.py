"""Merges are applied as the definition says: the pair of the lowest rank first, from the left."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from c2t.runtime.bundle.text_merges import Merges
from c2t.runtime.system.errors import BundleError


def joined(words: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The definition, over words."""
    words = list(words)
    while found := [(ranks[p], at) for at, p in enumerate(pairwise(words)) if p in ranks]:
        _, at = min(found)
        words[at : at + 2] = [words[at] + words[at + 1]]
    return words


def random_merges(draw: np.random.Generator) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary in no order, and pairs of its words; some come twice."""
    words, pairs = list("abcd"), list[tuple[str, str]]()
    for _ in range(60):
        left, right = draw.choice(words, 2).tolist()
        pairs.append((left, right))
        words += [left + right] * (left + right not in words)
    numbers = draw.permutation(1000)[: len(words)].tolist()
    return dict(zip(words, numbers, strict=True)), pairs + pairs[20::-1]


def test_as_defined() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        vocabulary, pairs = random_merges(draw)
        ranks: dict[tuple[str, str], int] = {}
        for rank, pair in enumerate(pairs):
            ranks.setdefault(pair, rank)
        assert len(ranks) < len(pairs)
        for form in (pairs, [" ".join(pair) for pair in pairs]):
            merges = Merges(vocabulary, form)
            for length in (0, 1, 2, 30):
                letters = draw.choice(list("abcd"), length).tolist()
                found = merges.apply([vocabulary[letter] for letter in letters])
                assert found == [vocabulary[word] for word in joined(letters, ranks)]


def test_the_largest_tokens_are_told_apart() -> None:
    most = 2**31 - 1
    merges = Merges({"a": most, "b": most - 1, "ab": 0, "ba": 1}, [("a", "b"), ("b", "a")])
    assert merges.apply([most, most - 1]) == [0]
    assert merges.apply([most - 1, most]) == [1]
    assert merges.apply([0, most]) == [0, most]


def test_a_pair_of_no_word_never_comes_up() -> None:
    merges = Merges({"a": 0, "ab": 1}, [("a", "b")])
    assert merges.apply([0, 0, 1]) == [0, 0, 1]


def test_a_word_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        BundleError, match="file joins two words to one that it does not have: 'ab'"
    ):
        Merges({"a": 0, "b": 1}, [("a", "b")], name="file", hint="look")


def test_whether_a_pair_reaches_into_the_next_word() -> None:
    words = {"▁": 0, "▁▁": 1, "a": 2, "▁a": 3, "▁▁a": 4, "a▁": 5}
    inside = [("▁", "▁"), ("▁", "a"), ("▁▁", "a")]
    assert not Merges(words, inside, mark="▁").crosses
    assert Merges(words, [*inside, ("a", "▁")], mark="▁").crosses
    assert not Merges(words, [*inside, ("a", "▁")]).crosses
