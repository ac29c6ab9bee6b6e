"""The text tokenizer of a bundle: opened within limits, and text tokens into words.

A tokenizer file can say that a token is a book, or that each letter becomes one. So tokens and what
the decoder may make of them are bounded, and a hole among the tokens of the file is an error: it
would be left out of a text without a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import BundleError, C2TError
from c2t.runtime.system.rust_panics import RustPanicError, rust_panics

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Published tokenizers have up to 33 MB.
TOKENIZER_BYTES_MAX = 128 << 20
# A text of 100 tokens has some 500 characters, the longest token of a published tokenizer 256.
TEXT_CHARACTERS_MAX = 1 << 20
# How many times longer a decoder's replacements may make a text; published ones keep its length.
GROWTH_MAX = 64
# Of an added token, such as "<|end_of_text|>". `tokenizers` takes 2 s to open a file with one of
# 5,000 characters, 33 s with one of 20,000.
ADDED_CHARACTERS_MAX = 512
HINT = "export the bundle again"


class _Decoder(msgspec.Struct):
    type: str
    decoders: list[_Decoder] = []
    pattern: dict[str, str] | None = None
    content: str | None = None


class _AddedToken(msgspec.Struct):
    content: str


class _File(msgspec.Struct):
    decoder: _Decoder | None = None
    added_tokens: list[_AddedToken] | None = None


def open_tokenizer(path: Path) -> Tokenizer:
    """Open `tokenizer.json`.

    Raises:
        BundleError: It is no tokenizer, too long, or its decoder could make texts without end.
    """
    from tokenizers import Tokenizer

    content = read_bounded(
        path, bytes_max=TOKENIZER_BYTES_MAX, error=BundleError, hint=HINT, what="a tokenizer"
    )
    check_tokenizer(content, path.name, error=BundleError, hint=HINT)
    try:
        with rust_panics():
            return Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises bare Exception on a malformed file
        problem = f"{path.name} is not a tokenizer: {error}"
        raise BundleError(problem, hint=HINT) from error


def check_tokenizer(content: bytes, name: str, *, error: type[C2TError], hint: str) -> None:
    """Refuse a `tokenizer.json` that takes very long to open, or makes texts without end.

    Args:
        content: Of the file.
        name: The file, for the error's text.
        error: Class of the error to raise.
        hint: How to mend it.

    Raises:
        C2TError: Of the class `error`.
    """
    file = decode_json(content, _File, name=name, error=error, hint=hint, what="a tokenizer")
    longest = max((len(token.content) for token in file.added_tokens or ()), default=0)
    if longest > ADDED_CHARACTERS_MAX:
        problem = f"{name} has an added token of {longest:,} characters"
        raise error(problem, hint=hint)
    if file.decoder is not None and _growth(file.decoder) > GROWTH_MAX:
        problem = f"{name} replaces letters by texts of many letters"
        raise error(problem, hint=hint)


def decode_text(tokenizer: Tokenizer, token_ids: Sequence[int], *, whole: bool = True) -> str:
    """The text of text tokens, without special ones.

    A decoder's table may be padded: its rows behind the tokenizer's last token have no words, and
    are left out, as by transformers.

    Args:
        tokenizer: The tokenizer.
        token_ids: Text tokens.
        whole: Whether they are a whole text, not the beginning of one.

    Raises:
        BundleError: The tokenizer lacks a token among its own, or all of a whole text's; or the
            text is too long or fails.
    """
    length = 0
    unknown: int | None = None
    for token in token_ids:
        word = tokenizer.id_to_token(token)
        if word is None:
            unknown = token if unknown is None else min(unknown, token)
        else:
            length += len(word)
    if unknown is not None and unknown < tokenizer.get_vocab_size():
        raise _unknown(unknown)
    if length > TEXT_CHARACTERS_MAX:
        problem = f"{len(token_ids)} text tokens of tokenizer.json have {length:,} characters"
        raise BundleError(problem, hint=HINT)
    try:
        with rust_panics():
            text = str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
    except RustPanicError as error:
        problem = f"tokenizer.json cannot decode a text: {error}"
        raise BundleError(problem, hint=HINT) from error
    if whole and unknown is not None and not text:
        raise _unknown(unknown)
    return text


def _unknown(token: int) -> BundleError:
    problem = f"text token {token} is not in tokenizer.json"
    return BundleError(problem, hint="export the bundle again with its own tokenizer")


def _growth(decoder: _Decoder) -> float:
    """How many times longer a decoder can make a text."""
    if decoder.type == "Replace":
        pattern, content = decoder.pattern or {}, decoder.content or ""
        # What a regular expression matches may be empty, and takes any time to find.
        found = pattern.get("String", "")
        return max(1, len(content) / len(found)) if found else math.inf
    return math.prod(_growth(part) for part in decoder.decoders)
