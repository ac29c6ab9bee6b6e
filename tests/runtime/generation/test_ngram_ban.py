"""Both forms of the ban agree with Hugging Face's own processor."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_data import expected

from c2t.runtime.generation.ngram_ban import NgramBan, ban_in_place, banned_array


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_as_hugging_face(size: int) -> None:
    cases = [case for case in expected()["ngram_bans"] if case["size"] == size]
    assert any(case["banned"] for case in cases)
    for case in cases:
        ban = NgramBan(size)
        for token in case["sequence"]:
            ban.append(token)
        assert sorted(set(ban.banned())) == case["banned"]
        scores = np.zeros((1, 5), np.float32)
        ban_in_place(scores, np.array([case["sequence"]], np.int64), size)
        assert np.flatnonzero(np.isneginf(scores[0])).tolist() == case["banned"]
        assert np.count_nonzero(scores) == len(case["banned"])


def test_zero_bans_nothing() -> None:
    ban = NgramBan(0)
    for token in (1, 1, 1):
        ban.append(token)
    assert not ban.banned()
    scores = np.zeros((1, 3), np.float32)
    ban_in_place(scores, np.ones((1, 9), np.int64), 0)
    assert not scores.any()


def test_bans_along_a_draft_are_those_of_single_steps() -> None:
    text, draft = [1, 2, 3, 1, 2, 4], [1, 2, 3]
    ban = NgramBan(3)
    for token in text:
        ban.append(token)
    along = ban.along(draft)
    assert len(along) == 4
    assert ban.along([]) == along[:1]  # the text itself is as it was
    for place, token in enumerate(draft):
        assert ban.banned() == along[place]
        ban.append(token)
    assert along == [(), (), (3, 4), ban.banned()]


def test_bans_as_one_array() -> None:
    found = banned_array([[(3, 4), ()], [(7,)]], 2)
    assert found.tolist() == [[[3, 4], [-1, -1]], [[7, -1], [-1, -1]]]
    assert banned_array([[()]], 3).shape == (1, 3, 0)
