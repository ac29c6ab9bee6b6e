"""Tokenizers that give up, that know too few tokens, or that make books of letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2t.runtime.bundle import text_tokenizer
from c2t.runtime.bundle.text_tokenizer import decode_text, open_tokenizer
from c2t.runtime.system.errors import BundleError


def replace(content: str, **pattern: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*decoders: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "decoders": list(decoders)}


@pytest.fixture
def changed(tiny_bundle_folder: Path, tmp_path: Path):
    """Writes the tiny bundle's tokenizer with other parts."""

    def write(**parts: Any) -> Path:
        document = json.loads((tiny_bundle_folder / "tokenizer.json").read_bytes())
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(document | parts))
        return path

    return write


@pytest.mark.parametrize(
    "decoder",
    [
        replace("x" * 1000, String="a"),
        replace("x" * 1000, Regex="a*"),
        replace("x", String=""),
        sequence(*[replace("aa", String="a")] * 20),
        sequence(*[{"type": "BPEDecoder", "suffix": ""}] * 20),
        sequence(sequence(replace("x" * 30, String="a")), replace("y" * 30, String="x")),
    ],
)
def test_decoders_that_make_texts_without_end_are_refused(changed, decoder) -> None:
    with pytest.raises(BundleError, match="replaces letters by texts") as caught:
        open_tokenizer(changed(decoder=decoder))
    assert caught.value.hint


def test_an_added_token_that_is_a_book_is_refused_at_once(changed) -> None:
    token = {"id": 9, "content": "x" * 70_000, "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    with pytest.raises(BundleError, match="an added token of 70,000 characters") as caught:
        open_tokenizer(changed(added_tokens=[token | flags]))
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{" * 100_000, b'{"decoder": 1}', b"\xff"])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match="tokenizer") as caught:
        open_tokenizer(tmp_path / "tokenizer.json")
    assert caught.value.hint


def test_a_token_without_a_word_is_an_error(tiny_bundle_folder: Path) -> None:
    tokenizer = open_tokenizer(tiny_bundle_folder / "tokenizer.json")
    with pytest.raises(BundleError, match="text token 99999 is not in") as caught:
        decode_text(tokenizer, [1, 99_999])
    assert caught.value.hint


def test_rows_that_pad_the_decoders_table_are_left_out(tiny_bundle_folder: Path) -> None:
    tokenizer = open_tokenizer(tiny_bundle_folder / "tokenizer.json")
    assert decode_text(tokenizer, [40, 99_999, 41]) == decode_text(tokenizer, [40, 41]) != ""
    assert decode_text(tokenizer, [99_999], whole=False) == ""


def test_a_hole_among_the_tokens_is_an_error(tiny_bundle_folder: Path, changed) -> None:
    stored = json.loads((tiny_bundle_folder / "tokenizer.json").read_bytes())
    words = stored["model"]["vocab"]
    merges = {part for merge in stored["model"]["merges"] for part in (*merge, "".join(merge))}
    word = next(w for w in words if w not in merges)
    hole = words[word]
    more = {w: number for w, number in words.items() if w != word} | {"another": 5000}
    tokenizer = open_tokenizer(changed(model=stored["model"] | {"vocab": more}))
    with pytest.raises(BundleError, match=f"text token {hole} is not in"):
        decode_text(tokenizer, [40, hole])


def test_a_text_that_is_too_long_is_an_error(tiny_bundle_folder: Path, monkeypatch) -> None:
    tokenizer = open_tokenizer(tiny_bundle_folder / "tokenizer.json")
    monkeypatch.setattr(text_tokenizer, "TEXT_CHARACTERS_MAX", 3)
    with pytest.raises(BundleError, match=r"4 text tokens of tokenizer\.json have"):
        decode_text(tokenizer, [40, 41, 42, 43])


def test_a_decoder_that_gives_up_is_an_error(changed) -> None:
    strip = {"type": "Strip", "content": "x", "start": 1, "stop": 1}
    tokenizer = open_tokenizer(changed(decoder=sequence(replace("x", String="a"), strip)))
    (letter,) = (token for token, word in tokenizer.words.items() if word == "a")
    with pytest.raises(BundleError, match="cannot decode a text: nothing is left of 'x'") as caught:
        decode_text(tokenizer, [letter])
    assert caught.value.hint


def test_a_decoder_that_is_not_known_is_refused_by_name(changed) -> None:
    path = changed(decoder=sequence({"type": "Fuse"}, {"type": "Rot13"}))
    with pytest.raises(BundleError, match="a decoder that c2t does not know: Rot13") as caught:
        open_tokenizer(path)
    assert "ByteLevel" in caught.value.hint


@pytest.mark.parametrize(
    ("decoder", "problem"),
    [
        (sequence(*[{"type": "Fuse"}] * 64), "a decoder of 65 parts"),
        ({"type": "Strip", "content": "ab", "start": 1, "stop": 1}, "length <= 1"),
        ({"type": "Metaspace", "replacement": "_", "add_prefix_space": False}, 'is not "never"'),
        ({"type": "Replace", "pattern": {"Word": "a"}, "content": ""}, "unknown field"),
        ({"type": "WordPiece", "prefix": "##"}, "missing required field `cleanup`"),
    ],
)
def test_decoders_that_are_wrong_are_refused(changed, decoder, problem: str) -> None:
    with pytest.raises(BundleError, match=problem) as caught:
        open_tokenizer(changed(decoder=decoder))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({"vocab": {"a": -1}}, ">= 0"),
        ({"vocab": {"a": 1 << 32}}, "4294967295"),
        ({"vocab": {"a": 0, "b": 0}}, "several words for one text token"),
        ({"vocab": {"a": 0}, "type": "Oracle"}, "Oracle"),
        ({"vocab": [["a"]]}, "length 2"),
        ({}, "vocab"),
    ],
)
def test_models_that_are_wrong_are_refused(changed, model, problem: str) -> None:
    with pytest.raises(BundleError, match=problem) as caught:
        open_tokenizer(changed(model=model))
    assert caught.value.hint


def test_a_text_token_may_have_any_number(changed) -> None:
    """A table with a place for each number would have 32 GB."""
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": (1 << 32) - 1}, "unk_token": "a"}
    tokenizer = open_tokenizer(changed(model=model, added_tokens=None, decoder=None))
    assert decode_text(tokenizer, [0, (1 << 32) - 1]) == "a b"
