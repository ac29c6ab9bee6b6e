"""Stop strings are found in the letters of tokens, where the last of them ends."""

from __future__ import annotations

import json

import pytest

from c2t.runtime.bundle.text_tokenizer import TextTokenizer, read_tokenizer
from c2t.runtime.generation.stop_strings import StopStrings, check_stop_strings
from c2t.runtime.system.errors import C2TError

WORDS = ["st", "op", "stop", "opera", "sto", "pper", "las", "topper", "Ġa", "<end>", "âĤ", "¬"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    content = {
        "model": {"type": "BPE", "vocab": {word: n for n, word in enumerate(WORDS)}},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"content": "<end>", "special": True}],
    }
    return read_tokenizer(json.dumps(content).encode(), "tokenizer.json", error=C2TError, hint="")


def ids(*words: str) -> list[int]:
    return [WORDS.index(word) for word in words]


@pytest.mark.parametrize(
    ("words", "complete"),
    [
        (("st", "op"), True),
        (("stop",), True),
        (("st", "opera"), True),  # the token goes on beyond it
        (("sto", "pper"), True),
        (("las", "topper"), True),
        (("stop", "las"), False),  # it was complete before
        (("op", "st"), False),
        (("sto",), False),
        (("Ġa", "Ġa", "st", "op"), True),
    ],
)
def test_where_it_ends(tokenizer: TextTokenizer, words: tuple[str, ...], complete: bool) -> None:
    assert StopStrings(["stop"], tokenizer).complete(ids(*words)) == complete


def test_it_may_begin_in_the_prompt(tokenizer: TextTokenizer) -> None:
    stops = StopStrings(["stop"], tokenizer)
    assert stops.complete(ids("op"), before=ids("las", "st"))
    assert not stops.complete(ids("op"))
    assert not stops.complete(ids("las"), before=ids("stop"))


def test_spaces_and_special_tokens_are_letters(tokenizer: TextTokenizer) -> None:
    assert StopStrings([" a"], tokenizer).complete(ids("las", "Ġa"))
    assert StopStrings(["<end>"], tokenizer).complete(ids("las", "<end>"))
    assert StopStrings(["d>"], tokenizer).complete(ids("<end>"))


def test_a_token_without_letters_completes_nothing(tokenizer: TextTokenizer) -> None:
    stops = StopStrings(["stop"], tokenizer)
    assert not stops.complete([*ids("stop"), len(WORDS) + 5])
    assert stops.complete([*ids("st"), len(WORDS) + 5, *ids("op")])


def test_any_of_several(tokenizer: TextTokenizer) -> None:
    stops = StopStrings(["never", "opera", "las"], tokenizer)
    assert stops.complete(ids("las"))
    assert stops.complete(ids("opera"))
    assert not stops.complete(ids("st"))


@pytest.mark.parametrize("strings", [[""], ["x" * 257], ["x"] * 17])
def test_what_cannot_stop_a_text(strings: list[str]) -> None:
    with pytest.raises(C2TError) as caught:
        check_stop_strings(strings)
    assert caught.value.hint
