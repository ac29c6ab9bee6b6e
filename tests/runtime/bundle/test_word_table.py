"""Words of text tokens as one text."""

from __future__ import annotations

import pytest

from c2t.runtime.bundle.word_table import WordTable


@pytest.mark.parametrize(
    "words",
    [
        {},
        {0: "a"},
        {2: "Zelle", 0: "", 1: "𝄞é", 7: " two words\n", 100_000: "\ud800"},
        {number: str(number) for number in reversed(range(1000))},
    ],
)
def test_it_has_the_words_of_a_dict(words: dict[int, str]) -> None:
    table = WordTable(words)
    assert dict(table) == words
    assert list(table) == sorted(words)
    assert len(table) == len(words)
    for token in (-1, 3, 999, 1000, 1 << 40):
        assert table.get(token) == words.get(token)
        assert (token in table) == (token in words)
    with pytest.raises(KeyError, match="12345"):
        table[12345]
