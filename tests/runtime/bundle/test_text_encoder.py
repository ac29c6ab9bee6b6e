"""Text tokens are those that the library `tokenizers` makes, whatever the kind of the tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import BUNDLES, tiny_bundle

from c2t.runtime.bundle.text_encoder import BytePairEncoder, open_encoder
from c2t.runtime.bundle.text_merges import Merges
from c2t.runtime.bundle.text_pieces import GPT2, LLAMA3, QWEN2, pieces
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.system.errors import BundleError, C2TError

TEXTS = (
    "This sample consists of a CD4-positive, alpha-beta T cell, a lymphocyte.",
    "  two  spaces\t\n\r\n and a line's end; it's THE'S 'll '",
    "αβ T-cell (human) ²³ 1234567 ½ x² naïve café e\u0301 日本語 😀 _under_score 'S",
    "CD45RA+CD27-/CD28(low) IgG1κ 5-HT3A, p<0.05",
    "cel cel el c sa el  el c Tel cel",
    "",
    " ",
)


def random_texts(count: int = 300) -> list[str]:
    letters = "abTC dé \t\n\r'stmlvr0123½²,.-+()αΩ日😀_ \u0301\u3000"
    draw = np.random.default_rng(0)
    return ["".join(draw.choice(list(letters), draw.integers(1, 30))) for _ in range(count)]


def tokenizer_file(**changes: Any) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((BUNDLES["mlp"] / "tokenizer.json").read_bytes())
    return file | changes


def split(pattern: str) -> dict[str, Any]:
    """The pre-tokenizer of Llama 3, with a pattern."""
    first = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "type": "Sequence",
        "pretokenizers": [first | {"invert": False}, last | {"use_regex": False}],
    }


LLAMA2 = [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
AT_SPACES = {
    **{"type": "Split", "pattern": {"String": " "}},
    **{"behavior": "MergedWithPrevious", "invert": False},
}


def with_marks(
    normal: list[dict[str, Any]],
    before: dict[str, Any] | None,
    more: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """A tokenizer with marks for spaces, and bytes for rare letters."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁Tcelsam,iof"]
    merges = [
        *more[1:],
        ("▁", "c"),
        ("e", "l"),
        ("▁c", "el"),
        ("▁cel", "l"),
        ("▁", "T"),
        ("s", "a"),
    ]
    words += [left + right for left, right in merges]
    model = {
        **{"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True},
        **{"continuing_subword_prefix": None, "end_of_word_suffix": None, "byte_fallback": True},
        "vocab": {word: number for number, word in enumerate(words)},
        "merges": [" ".join(merge) for merge in merges],
    }
    return tokenizer_file(
        normalizer={"type": "Sequence", "normalizers": normal} if normal else None,
        pre_tokenizer=before,
        model=model,
        added_tokens=[],
    )


def whole_pieces() -> dict[str, Any]:
    """A word of the vocabulary that no merges lead to."""
    file = tokenizer_file()
    file["model"] |= {"ignore_merges": True}
    file["model"]["vocab"]["Ġlymphocyte"] = len(file["model"]["vocab"])
    return file


KINDS = {
    "gpt2": tokenizer_file(),
    "llama3": tokenizer_file(pre_tokenizer=split(LLAMA3)),
    "qwen2": tokenizer_file(pre_tokenizer=split(QWEN2), normalizer={"type": "NFC"}),
    "llama2": with_marks(LLAMA2, None),
    "joined words": with_marks(LLAMA2, None, more=(("e", "l"), ("el", "▁"), ("el▁", "c"))),
    "mistral": with_marks([], METASPACE),
    "gemma2": with_marks(LLAMA2[1:], AT_SPACES),
    "whole pieces": whole_pieces(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_as_the_library(kind: str, tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers").Tokenizer.from_str(json.dumps(KINDS[kind]))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(KINDS[kind]))
    encoder = open_encoder(path)
    assert type(encoder).__name__ == "BytePairEncoder"
    for text in (*TEXTS, *random_texts()):
        expected = library.encode(text, add_special_tokens=False).ids
        assert list(encoder.encode(text)) == expected, text


def test_pieces_are_the_text() -> None:
    for text in (*TEXTS, *random_texts()):
        for pattern in (GPT2, LLAMA3, QWEN2):
            assert "".join(pieces(text, pattern)) == text


def test_tokens_become_the_text_again() -> None:
    bundle = tiny_bundle().bundle
    encoder = open_encoder(bundle.file("tokenizer.json"))
    for text in TEXTS[:-2]:
        assert decode_text(bundle.tokenizer, encoder.encode(text)) == text


def test_another_pattern_is_the_librarys(tmp_path: Path) -> None:
    """It is compared and never run by us."""
    library = pytest.importorskip("tokenizers").Tokenizer
    file = tokenizer_file(pre_tokenizer=split(r"\s+|\S+"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file))
    encoder = open_encoder(path)
    assert type(encoder).__name__ == "_LibraryEncoder"
    expected = library.from_file(str(path)).encode(TEXTS[0]).ids
    assert list(encoder.encode(TEXTS[0])) == expected


def test_refused(tmp_path: Path) -> None:
    encoder = open_encoder(BUNDLES["mlp"] / "tokenizer.json")
    with pytest.raises(C2TError, match="keeps for itself"):
        encoder.encode("a cell<|eot_id|>")
    with pytest.raises(C2TError, match="letters"):
        encoder.encode("x" * 5000)
    # What a terminal hands over for the byte 0xFF.
    for encode in (encoder.encode, encoder.encode_letters):
        with pytest.raises(C2TError, match=r"no UTF-8: it has '.udcff'"):
            encode("a cell\udcff")
    path = tmp_path / "tokenizer.json"
    file = tokenizer_file()
    file["model"]["merges"] = [["T", "nowhere"]]
    path.write_text(json.dumps(file))
    with pytest.raises(BundleError, match="joins two words"):
        open_encoder(path)
    file = tokenizer_file()
    del file["model"]["vocab"]["é".encode().decode("latin-1")[0]]
    file["model"]["merges"] = []
    path.write_text(json.dumps(file))
    with pytest.raises(C2TError, match="no token for"):
        open_encoder(path).encode("é")


def test_special_words_of_a_prompt_are_letters() -> None:
    encoder = BytePairEncoder(
        words := {letter: number for number, letter in enumerate("<s>ab ")} | {"ab": 9},
        Merges(words, [("a", "b")]),
        lambda text: iter([text]),
        refused=frozenset(("<s>",)),
        added={"  ": 20, "   ": 21},
    )
    with pytest.raises(C2TError, match="keeps for itself"):
        encoder.encode("<s>ab")
    assert encoder.encode_letters("<s>ab") == (0, 1, 2, 9)
    # Runs of spaces have a token of their own, the longest one first.
    assert encoder.encode_letters("ab   a  b") == (9, 21, 3, 20, 4)


def test_a_long_prompt_has_short_pieces() -> None:
    encoder = BytePairEncoder({"a": 0, " ": 1}, Merges({}, []), lambda text: iter(text.split(" ")))
    assert len(encoder.encode_letters("a " * 4999 + "a")) == 5000
    with pytest.raises(C2TError, match="a text of 5,000 letters"):
        encoder.encode_letters("a" * 5000)
