"""A text that was decoded before is the same, and only so many are kept."""

from __future__ import annotations

import pytest

from c2t.runtime.bundle.text_decoders import BYTE_OF_LETTER, ByteLevel
from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text
from c2t.runtime.describe import decoded_texts
from c2t.runtime.describe.confidence import token_ends
from c2t.runtime.describe.decoded_texts import DecodedTexts
from c2t.runtime.system.errors import BundleError


@pytest.fixture
def tokenizer() -> TextTokenizer:
    letters = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
    words = ["A", " cell", " αβ", "\u00b5", "."]
    encoded = ["".join(letters[byte] for byte in word.encode()) for word in words]
    return TextTokenizer(
        words=dict(enumerate(encoded)), special=frozenset(), size=len(words), decoder=ByteLevel()
    )


def test_texts_and_ends_are_those_of_each_token_list(tokenizer: TextTokenizer) -> None:
    texts = DecodedTexts(tokenizer)
    for ids in [(0, 1, 4), (0, 2, 1), (0, 1, 4), (3, 3), (0, 2, 1)]:
        text = texts.text(ids)
        assert text == decode_text(tokenizer, ids)
        ends = token_ends(text, ids, lambda some: decode_text(tokenizer, some, whole=False))
        assert texts.ends(text, ids) == ends


def test_what_cannot_be_decoded_is_refused_each_time(tokenizer: TextTokenizer) -> None:
    texts = DecodedTexts(tokenizer)
    for _ in range(2):
        with pytest.raises(BundleError, match="is not in tokenizer"):
            texts.text((9,))


def test_few_and_short_texts_are_kept(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_texts, "KEPT_TEXTS_MAX", 4)
    texts = DecodedTexts(tokenizer)
    for length in range(1, 12):
        ids = (0, *(1,) * length)
        assert texts.ends(texts.text(ids), ids)[-1] == len(texts.text(ids))
        assert len(texts._texts) <= 4
        assert len(texts._ends) <= 4
    long = (1,) * (decoded_texts.KEPT_TOKENS_MAX + 1)
    texts.text(long)
    assert long not in texts._texts
