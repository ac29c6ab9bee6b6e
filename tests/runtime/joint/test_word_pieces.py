"""BERT's tokenizer: by hand, and token for token as the library where that is installed."""

import json
import unicodedata
from pathlib import Path

import pytest

from c2t.runtime.joint.word_pieces import LETTERS_MAX, open_word_pieces
from c2t.runtime.system.errors import BundleError, C2TError

WORDS = ["[UNK]", "[CLS]", "[SEP]", "T", "cell", "##s", "##ly", "[", "]", "SEP", ",", "un", "##aff"]
NORMAL = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": False,
}


def write(path: Path, words: list[str], **changed: object) -> Path:
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: n for n, word in enumerate(words)},
    }
    document = {
        "version": "1.0",
        "model": model,
        "normalizer": NORMAL,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "added_tokens": [],
    }
    path.write_text(json.dumps(document | changed), encoding="utf-8")
    return path


def test_takes_the_longest_pieces_and_no_special_tokens(tmp_path: Path) -> None:
    pieces = open_word_pieces(write(tmp_path / "t.json", WORDS))

    def words(text: str) -> list[str]:
        return [WORDS[token] for token in pieces.encode(text)]

    assert words("T cells, cell\tTs") == ["T", "cell", "##s", ",", "cell", "T", "##s"]
    assert words("[SEP] [CLS]") == ["[", "SEP", "]", "[", "[UNK]", "]"]
    assert words("unaffxly") == ["[UNK]"]  # a word is known as a whole or not at all
    assert words("unaff\u00adly") == ["un", "##aff", "##ly"]  # a soft hyphen is no letter
    assert words("cell" * 26) == ["[UNK]"]  # 104 letters
    assert words(" \n ") == []
    with pytest.raises(C2TError, match="has 65,537 letters"):
        pieces.encode("x" * (LETTERS_MAX + 1))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("accents", [None, False, True])
def test_equals_the_library_letter_by_letter(
    tmp_path: Path, lower: bool, accents: bool | None
) -> None:
    library = pytest.importorskip("tokenizers")
    letters = [chr(code) for code in (*range(33, 0x600), *range(0x2000, 0x2C00))]
    words = ["[UNK]", *letters, *(f"##{letter}" for letter in letters)]
    normal = NORMAL | {"lowercase": lower, "strip_accents": accents}
    path = write(tmp_path / "t.json", words, normalizer=normal)
    theirs, ours = library.Tokenizer.from_file(str(path)), open_word_pieces(path)
    texts = [
        f"a{letter}b c{letter} {letter}"
        for letter in [
            *map(chr, range(0x600)),
            *map(chr, range(0x2000, 0x3100)),
            "\u5de8",
            "\ufffd",
        ]
        if unicodedata.category(letter) not in ("Cn", "Cs")
        # Marks that are newer than the library's tables.
        and not ("\u2e43" <= letter <= "\u2e5d")
    ]
    assert len(texts) > 4000
    wrong = [text for text in texts if theirs.encode(text).ids != ours.encode(text)]
    assert not wrong


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": {"type": "BPE", "vocab": {}, "merges": []}}, "a WordPiece tokenizer"),
        ({"normalizer": {"type": "NFC"}}, "a WordPiece tokenizer"),
        ({"normalizer": NORMAL | {"more": 1}}, "a WordPiece tokenizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "a WordPiece tokenizer"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, r"no token '\[UNK\]'"),
    ],
)
def test_refuses_other_tokenizers(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        open_word_pieces(write(tmp_path / "t.json", WORDS, **changed))
