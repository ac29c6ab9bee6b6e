"""Both forms of the ban agree with Hugging Face's own processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from c2t.runtime.generation.ngram_ban import NgramBan, ban_in_place, banned_array


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_as_hugging_face(size: int) -> None:
    generator = np.random.default_rng(size)
    for length in (0, 1, 2, 3, 5, 40):
        sequences = generator.integers(0, 5, (4, length))
        scores = np.zeros((4, 5), np.float32)
        processor = NoRepeatNGramLogitsProcessor(size)
        expected = processor(torch.from_numpy(sequences), torch.from_numpy(scores)).numpy()
        for row in range(4):
            ban = NgramBan(size)
            for token in sequences[row].tolist():
                ban.append(token)
            assert set(ban.banned()) == set(np.flatnonzero(np.isinf(expected[row])).tolist())
        ban_in_place(scores, sequences, size)
        np.testing.assert_array_equal(scores, expected)


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
