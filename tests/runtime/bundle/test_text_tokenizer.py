"""Tokenizers that panic, that know too few tokens, or that make books of letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

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


def test_text_is_that_of_the_library(tiny_bundle_folder: Path) -> None:
    path = tiny_bundle_folder / "tokenizer.json"
    plain, ours = Tokenizer.from_file(str(path)), open_tokenizer(path)
    ids = plain.encode("This sample consists of a B cell, é").ids
    assert decode_text(ours, ids) == plain.decode(ids, skip_special_tokens=True)


def test_the_decoder_of_llama_2_and_gemma_is_fine(changed) -> None:
    fallback, fuse = {"type": "ByteFallback"}, {"type": "Fuse"}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    decoder = sequence(replace(" ", String="▁"), fallback, fuse, strip)
    tokenizer = open_tokenizer(changed(decoder=decoder))
    assert decode_text(tokenizer, tokenizer.encode("B cell").ids)


@pytest.mark.parametrize(
    "decoder",
    [
        replace("x" * 1000, String="a"),
        replace("x" * 1000, Regex="a*"),
        replace("x", String=""),
        sequence(*[replace("aa", String="a")] * 20),
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
    assert decode_text(tokenizer, [40, 99_999, 41]) == tokenizer.decode([40, 41])
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


def test_a_panic_is_an_error() -> None:
    class PanicException(BaseException):
        pass

    class Panicking:
        def id_to_token(self, token: int) -> str:
            return "a"

        def decode(self, ids: list[int], **_: bool) -> str:
            raise PanicException("index out of bounds")  # noqa: EM101

    with pytest.raises(BundleError, match="cannot decode a text: index out of bounds"):
        decode_text(Panicking(), [1])  # type: ignore[arg-type]
