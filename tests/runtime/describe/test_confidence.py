"""The cell type's tokens are found whatever way the tokenizer cuts the text."""

from __future__ import annotations

from functools import partial

import pytest

from c2t.runtime.bundle.text_decoders import BYTE_OF_LETTER, ByteLevel
from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text
from c2t.runtime.describe.confidence import BROKEN, cell_type_confidence, text_confidence

TEXT = "This sample consists of a CD4+ αβ T cell, a lymphocyte. It goes on, and on."


def words(*texts: str):
    """Tokens 0, 1, ... with these texts."""
    return list(range(len(texts))), lambda ids: "".join(texts[i] for i in ids)


def test_mean_of_the_tokens_of_the_cell_type() -> None:
    ids, decode = words("This sample", " consists", " of", " a", " B", " cell", ",", " a lymph.")
    found = cell_type_confidence(decode(ids), ids, [0.9, 0.9, 0.9, 0.9, 0.5, 0.7, 0.1, 0.1], decode)
    assert found == pytest.approx(0.6)


def test_a_token_that_holds_part_of_it_counts() -> None:
    ids, decode = words("This consists of a mono", "cyt", "e, that", " is.")
    found = cell_type_confidence(decode(ids), ids, [0.2, 0.4, 0.9, 0.0], decode)
    assert found == pytest.approx(0.5)


def test_no_cell_type() -> None:
    ids, decode = words("Something", " else", ",")
    assert cell_type_confidence(decode(ids), ids, [1.0] * 3, decode) is None
    assert cell_type_confidence("", [], [], decode) is None


def test_bytes_of_one_character_in_two_tokens() -> None:
    words = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}  # one token a byte
    tokenizer = TextTokenizer(words=words, special=frozenset(), size=256, decoder=ByteLevel())
    decode = partial(decode_text, tokenizer, whole=False)
    raw = TEXT.encode()
    ids = list(raw)
    assert decode(ids) == TEXT
    assert decode(ids[: raw.index(0xCE) + 1])[-1] == BROKEN
    start = raw.index(b"CD4+")
    stop = raw.index(b",")
    probabilities = [1.0 if start <= i < stop else 0.0 for i in range(len(ids))]
    assert cell_type_confidence(TEXT, ids, probabilities, decode) == 1.0
    inverse = [1.0 - p for p in probabilities]
    assert cell_type_confidence(TEXT, ids, inverse, decode) == 0.0


def test_text_confidence() -> None:
    assert text_confidence([0.5, 1.0]) == 0.75
    assert text_confidence([]) is None
