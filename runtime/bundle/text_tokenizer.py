"""The text tokenizer of a bundle: opened within limits, and text tokens into words.

One decision: c2t reads `tokenizer.json` itself. It only makes texts of tokens, which takes a table
of words and a decoder; the library that makes tokens of texts is needed by exporting alone.

A tokenizer file can say that a token is a book, or that each letter becomes one. So tokens and what
the decoder may make of them are bounded, and a hole among the tokens of the file is an error: it
would be left out of a text without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from c2t.runtime.bundle.text_decoders import Decoder, UndecodableError, growth
from c2t.runtime.bundle.word_table import WordTable
from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import BundleError, C2TError
from c2t.runtime.system.portable.memory import return_free_memory

# Published tokenizers have up to 33 MB.
TOKENIZER_BYTES_MAX = 128 << 20
# A text of 100 tokens has some 500 characters, the longest token of a published tokenizer 256.
TEXT_CHARACTERS_MAX = 1 << 20
# How many times longer a decoder's replacements may make a text; published ones keep its length.
GROWTH_MAX = 64
# Published decoders have up to 4 parts, and 12 for cleaning up.
DECODERS_MAX = 64
# Of an added token, such as "<|end_of_text|>". `tokenizers` takes 2 s to open a file with one of
# 5,000 characters, 33 s with one of 20,000.
ADDED_CHARACTERS_MAX = 512
HINT = "export the bundle again"

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class _Model(msgspec.Struct):
    """What knows the words. A unigram model has a list, the others have numbers of their own."""

    vocab: dict[str, TokenId] | list[tuple[str, float]]
    type: Literal["BPE", "Unigram", "WordLevel", "WordPiece"] | None = None


class _AddedToken(msgspec.Struct):
    content: str
    special: bool = False


class _File(msgspec.Struct):
    model: _Model
    decoder: msgspec.Raw = msgspec.Raw(b"null")
    added_tokens: list[_AddedToken] | None = None


class _Kind(msgspec.Struct):
    """Of a decoder: its name, which may be one that c2t does not know."""

    type: str
    decoders: list[_Kind] = []

    def names(self) -> list[str]:
        """Its name and those of its parts."""
        return [self.type, *(name for part in self.decoders for name in part.names())]


class _Holder(msgspec.Struct):
    decoder: Decoder


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTokenizer:
    """Words of text tokens, and how they become a text; threads may share it.

    Args:
        words: Word of each text token.
        special: Words that are left out of texts.
        size: How many different words there are. A text token from there on that has no word pads
            the decoder's table.
        decoder: None: a space stands between two words.
    """

    words: Mapping[int, str]
    special: frozenset[str]
    size: int
    decoder: Decoder | None

    def join(self, words: list[str]) -> str:
        """The text of words.

        Raises:
            UndecodableError: The decoder gives up.
        """
        return " ".join(words) if self.decoder is None else "".join(self.decoder.join(words))


def open_tokenizer(path: Path) -> TextTokenizer:
    """Open `tokenizer.json`.

    Raises:
        BundleError: It is no tokenizer, too long, of a kind that c2t does not know, or its decoder
            could make texts without end.
    """
    content = read_bounded(
        path, bytes_max=TOKENIZER_BYTES_MAX, error=BundleError, hint=HINT, what="a tokenizer"
    )
    tokenizer = read_tokenizer(content, path.name, error=BundleError, hint=HINT)
    return_free_memory()
    return tokenizer


def read_tokenizer(content: bytes, name: str, *, error: type[C2TError], hint: str) -> TextTokenizer:
    """Read a `tokenizer.json`; refuse one that makes texts without end, or is slow to open.

    Args:
        content: Of the file.
        name: The file, for the error's text.
        error: Class of the error to raise.
        hint: How to mend it.

    Raises:
        C2TError: Of the class `error`.
    """
    file = decode_json(content, _File, name=name, error=error, hint=hint, what="a tokenizer")
    added = file.added_tokens or []
    longest = max((len(token.content) for token in added), default=0)
    if longest > ADDED_CHARACTERS_MAX:
        problem = f"{name} has an added token of {longest:,} characters"
        raise error(problem, hint=hint)
    vocabulary = file.model.vocab
    if isinstance(vocabulary, dict):
        words = {number: word for word, number in vocabulary.items()}
        numbers = vocabulary
    else:
        words = {number: word for number, (word, _) in enumerate(vocabulary)}
        numbers = {word: number for number, word in words.items()}
    distinct = len(words) == len(vocabulary)
    more = _numbers_of_added(added, numbers, len(vocabulary))
    distinct &= all(words.setdefault(number, word) == word for word, number in more.items())
    if not distinct:
        problem = f"{name} has several words for one text token"
        raise error(problem, hint=hint)
    return TextTokenizer(
        words=WordTable(words),
        special=frozenset(token.content for token in added if token.special and token.content),
        size=len(numbers) + sum(word not in numbers for word in more),
        decoder=_read_decoder(file.decoder, name, error, hint),
    )


def _numbers_of_added(
    added: Sequence[_AddedToken], numbers: Mapping[str, int], size: int
) -> dict[str, int]:
    """The text token of each added word.

    As in the library, a word that the model has keeps its token. Another gets the model's `size`,
    or what follows; the token that the file states is not looked at.
    """
    more: dict[str, int] = {}
    for word in (token.content for token in added):
        if word and word not in more:
            more[word] = numbers.get(word, size)
            size += word not in numbers
    return more


def _read_decoder(
    content: msgspec.Raw, name: str, error: type[C2TError], hint: str
) -> Decoder | None:
    if bytes(content) == b"null":
        return None
    what = "a tokenizer"
    kind = decode_json(bytes(content), _Kind, name=name, error=error, hint=hint, what=what)
    known = {decoder.__name__ for decoder in get_args(Decoder)}
    names = kind.names()
    if unknown := [part for part in names if part not in known]:
        problem = f"{name} has a decoder that c2t does not know: {unknown[0][:40]}"
        raise error(problem, hint=f"its decoder must be one of {', '.join(sorted(known))}")
    if len(names) > DECODERS_MAX:
        problem = f"{name} has a decoder of {len(names):,} parts"
        raise error(problem, hint=hint)
    file = decode_json(
        b'{"decoder": %b}' % bytes(content), _Holder, name=name, error=error, hint=hint, what=what
    )
    decoder = file.decoder
    if growth(decoder) > GROWTH_MAX:
        problem = f"{name} replaces letters by texts of many letters"
        raise error(problem, hint=hint)
    return decoder


def decode_text(tokenizer: TextTokenizer, token_ids: Sequence[int], *, whole: bool = True) -> str:
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
    words = [word for token in token_ids if (word := tokenizer.words.get(token)) is not None]
    unknown: int | None = None
    if len(words) < len(token_ids):
        unknown = min(token for token in token_ids if token not in tokenizer.words)
        if unknown < tokenizer.size:
            raise _unknown(unknown)
    length = sum(map(len, words))
    if length > TEXT_CHARACTERS_MAX:
        problem = f"{len(token_ids)} text tokens of tokenizer.json have {length:,} characters"
        raise BundleError(problem, hint=HINT)
    try:
        text = tokenizer.join([word for word in words if word not in tokenizer.special])
    except UndecodableError as error:
        problem = f"tokenizer.json cannot decode a text: {error}"
        raise BundleError(problem, hint=HINT) from error
    if whole and unknown is not None and not text:
        raise _unknown(unknown)
    return text


def _unknown(token: int) -> BundleError:
    problem = f"text token {token} is not in tokenizer.json"
    return BundleError(problem, hint="export the bundle again with its own tokenizer")
