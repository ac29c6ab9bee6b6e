"""The cell type's tokens are found whatever way the tokenizer cuts the text."""

from __future__ import annotations

from functools import partial

import pytest

from c2t.runtime.bundle.text_decoders import BYTE_OF_LETTER, ByteLevel
from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text
from c2t.runtime.describe.caption import PAPER
from c2t.runtime.describe.confidence import (
    BROKEN,
    byte_token_ends,
    span_confidence,
    text_confidence,
    token_ends,
)

TEXT = "This sample consists of a CD4+ αβ T cell, a lymphocyte. It goes on, and on."


def words(*texts: str):
    """Tokens 0, 1, ... with these texts."""
    return list(range(len(texts))), lambda ids: "".join(texts[i] for i in ids)


def cell_type_confidence(text, ids, probabilities, decode):
    cell_type = PAPER.read(text).get("cell_type")
    spans = cell_type.spans if cell_type else ()
    return span_confidence(spans, token_ends(text, ids, decode), probabilities)


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
    assert byte_token_ends(TEXT, ids, tokenizer) == token_ends(TEXT, ids, decode)


def test_ends_by_bytes_only_where_tokens_add_up_to_the_text() -> None:
    words = {byte: letter for letter, byte in BYTE_OF_LETTER.items()} | {256: "<|end|>"}
    tokenizer = TextTokenizer(
        words=words, special=frozenset({"<|end|>"}), size=257, decoder=ByteLevel()
    )
    decode = partial(decode_text, tokenizer, whole=False)
    ids = [*b"a b", 256, *"é".encode()]
    assert byte_token_ends("a bé", ids, tokenizer) == token_ends("a bé", ids, decode)
    half = [*b"a ", 0xCE]  # half a letter is shown as a mark
    assert byte_token_ends(decode(half), half, tokenizer) is None
    assert byte_token_ends("longer text", ids, tokenizer) is None
    other = TextTokenizer(words=words, special=frozenset(), size=257, decoder=None)
    assert byte_token_ends("a b", [*b"a b"], other) is None


def test_several_stretches_and_none() -> None:
    ends = [3, 3, 5, 9]  # the second token completes no character
    probabilities = [0.1, 0.2, 0.4, 0.8]
    assert span_confidence([(0, 3)], ends, probabilities) == pytest.approx(0.1)
    assert span_confidence([(3, 5)], ends, probabilities) == pytest.approx(0.3)
    assert span_confidence([(0, 1), (6, 9)], ends, probabilities) == pytest.approx(0.45)
    assert span_confidence([], ends, probabilities) is None


def test_text_confidence() -> None:
    assert text_confidence([0.5, 1.0]) == 0.75
    assert text_confidence([]) is None
