"""Native drafts are the definition's, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2t.kernels.drafts.cpu import MOST_BANS
from c2t.kernels.native import native_kernels
from c2t.runtime.generation.drafts import Draft, Drafter
from c2t.runtime.generation.ngram_ban import NgramBan, banned_array
from c2t.runtime.generation.phrase_table import PhraseTable, build_phrase_table

pytestmark = pytest.mark.skipif(native_kernels() is None, reason="there is no native library")


def random_table(seed: int) -> PhraseTable:
    """Of captions of few words, which repeat themselves."""
    rng = np.random.default_rng(seed)
    phrases = [rng.integers(0, 9, rng.integers(1, 6)).tolist() for _ in range(6)]
    captions = [
        [t for which in rng.integers(0, 6, rng.integers(1, 8)) for t in phrases[which]]
        for _ in range(30)
    ]
    return build_phrase_table(captions, depth=int(rng.integers(1, 8)))


def in_python(drafter: Drafter) -> Drafter:
    """The same drafter without the library."""
    other = drafter.clone()
    other._walk = None
    return other


def assert_same(ours: Draft, theirs: Draft) -> None:
    assert replace(ours, bans=None) == replace(theirs, bans=None)
    rows = 1 + len(theirs.tokens)
    assert ours.bans is not None
    assert theirs.bans is not None
    found = banned_array([ours.bans], rows)[0]
    expected = banned_array([theirs.bans], rows)[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ngram", [0, 1, 2, 3, 5])
def test_same_drafts(seed: int, ngram: int) -> None:
    rng = np.random.default_rng(100 + seed)
    native = Drafter(random_table(seed), longest=int(rng.integers(1, 33)))
    python = in_python(native)
    assert native._walk is not None
    drafted = 0
    for _ in range(40):
        cursor, other = native.begin(), python.begin()
        ban = NgramBan(ngram, rng.integers(0, 9, rng.integers(0, 20)).tolist())
        for token in rng.integers(0, 9, rng.integers(0, 30)).tolist():
            native.advance(cursor, token)
            python.advance(other, token)
            assert cursor.state == other.state
            ban.append(token)
        limit = int(rng.integers(-1, 40))
        ours = native.propose(cursor, ban, limit)
        theirs = python.propose(other, ban, limit)
        assert_same(ours, theirs)
        drafted += len(ours.tokens)
        accepted = int(rng.integers(0, 1 + len(ours.tokens)))
        native.learn(ours, accepted)
        python.learn(theirs, accepted)
        if accepted:
            new = list(ours.tokens[:accepted])
            native.follow(cursor, new, ours)
            python.follow(other, new, theirs)
            assert cursor.state == other.state
    assert drafted or ngram == 1


def test_a_text_that_repeats_itself_too_often_is_left_to_the_definition() -> None:
    native = Drafter(random_table(0))
    cursor = native.begin()
    ban = NgramBan(1, list(range(MOST_BANS + 1)))
    assert native._walk is not None
    arguments = {"ngram": 1, "limit": 8, "trust": 1.0, "unlikely": 0.04}
    assert native._walk.draft(cursor.state, ban.sequence, **arguments) is None
    assert_same(native.propose(cursor, ban, 8), in_python(native).propose(cursor, ban, 8))


def test_drafts_of_several_texts_do_not_share_memory() -> None:
    drafter = Drafter(random_table(1))
    ban = NgramBan(2, [1, 2, 1, 3, 1])
    first = drafter.propose(drafter.begin(), ban, 8)
    assert isinstance(first.bans, np.ndarray)
    before = first.bans.copy()
    drafter.propose(drafter.begin(), NgramBan(2, [4, 5, 4, 6, 4]), 8)
    np.testing.assert_array_equal(first.bans, before)
