"""What `tokenizer.json` calls a decoder: how the words of text tokens are joined to a text.

Each does exactly what the decoder of this name does in Hugging Face `tokenizers` 0.22, the library
that wrote the file: oddities, and the inputs that it gives up on, are the same.
"""

from __future__ import annotations

import math
import re
from itertools import groupby
from typing import Annotated, Literal, TypeAlias

import msgspec

Character = Annotated[str, msgspec.Meta(min_length=1, max_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]

# Byte of each letter that stands for one in byte-level vocabularies: printable ones of Latin-1 for
# themselves, the others for the rest in their order.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_OF_LETTER = {chr(byte): byte for byte in _PRINTABLE}
BYTE_OF_LETTER |= {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}
_LETTERS = frozenset(BYTE_OF_LETTER)
_LATIN_1 = str.maketrans({letter: chr(byte) for letter, byte in BYTE_OF_LETTER.items()})
# Rust reads a number with a sign, too.
_BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2}|[+][0-9A-Fa-f])>")
_BROKEN = "\ufffd"
# In this order. As in the library, "do not" becomes "don't".
_CLEAN_UP = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't")),
    *((" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


class UndecodableError(Exception):
    """A decoder gives up on these tokens, as the library does."""


class ByteLevel(msgspec.Struct, frozen=True, tag=True):
    """Letters that stand for bytes, of UTF-8: Llama 3, GPT, Qwen."""

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        text = "".join(words)
        if _LETTERS.issuperset(text):
            raw = text.translate(_LATIN_1).encode("latin-1")
        else:
            # A word with any other letter stands for itself.
            raw = b"".join(map(_bytes_of, words))
        return [raw.decode("utf-8", errors="replace")]


class ByteFallback(msgspec.Struct, frozen=True, tag=True):
    """Tokens such as "<0xE2>" are bytes of characters that have no token: Llama 2, Gemma."""

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        joined: list[str] = []
        raw = bytearray()
        for word in words:
            found = _BYTE_TOKEN.fullmatch(word) if word.startswith("<0x") else None
            if found:
                raw.append(int(found[1], 16))
                continue
            if raw:
                joined += _characters(raw)
                raw.clear()
            joined.append(word)
        return joined + _characters(raw) if raw else joined


class Metaspace(msgspec.Struct, frozen=True, tag=True):
    """A letter stands for the space; it is dropped where the text begins: SentencePiece."""

    replacement: Character
    prepend_scheme: Literal["always", "first", "never"] = "always"
    add_prefix_space: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.add_prefix_space is False and self.prepend_scheme != "never":
            problem = '`add_prefix_space` is false, `prepend_scheme` is not "never"'
            raise ValueError(problem)

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        joined = [word.replace(self.replacement, " ") for word in words]
        if words and self.prepend_scheme != "never":
            joined[0] = words[0].replace(self.replacement, "")
        return joined


class WordPiece(msgspec.Struct, frozen=True, tag=True):
    """A word that does not begin with the prefix follows a space: BERT."""

    prefix: str
    cleanup: bool

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        size = len(self.prefix)
        joined = words[:1]
        joined += [
            word[size:] if word.startswith(self.prefix) else f" {word}" for word in words[1:]
        ]
        return [_clean_up(word) for word in joined] if self.cleanup else joined


class BPEDecoder(msgspec.Struct, frozen=True, tag=True):
    """A suffix ends a word, and is a space where another follows."""

    suffix: str

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        joined = [word.replace(self.suffix, " ") for word in words[:-1]]
        return joined + [word.replace(self.suffix, "") for word in words[-1:]]


class CTC(msgspec.Struct, frozen=True, tag=True):
    """Tokens of speech: repeated ones are one."""

    pad_token: str
    word_delimiter_token: str
    cleanup: bool

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        joined = (word.replace(self.pad_token, "") for word, _ in groupby(words))
        if self.cleanup:
            joined = (_clean_up(word).replace(self.word_delimiter_token, " ") for word in joined)
        return [word for word in joined if word]


class Fuse(msgspec.Struct, frozen=True, tag=True):
    """All words become one."""

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        return ["".join(words)]


class Pattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `Replace` looks for."""

    string: str | None = msgspec.field(name="String", default=None)
    regex: str | None = msgspec.field(name="Regex", default=None)


class Replace(msgspec.Struct, frozen=True, tag=True):
    """One text becomes another wherever it stands in a word."""

    pattern: Pattern
    content: str

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        old = self.pattern.string
        assert old  # `growth` is infinite else, and the file refused
        return [word.replace(old, self.content) for word in words]


class Strip(msgspec.Struct, frozen=True, tag=True):
    """Takes a character off both ends of words, so many times at most."""

    content: Character
    start: Count
    stop: Count

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        return [self._strip(word) for word in words]

    def _strip(self, word: str) -> str:
        begin = min(self.start, len(word) - len(word.lstrip(self.content)))
        end = min(self.stop, len(word) - len(word.rstrip(self.content)))
        if (self.stop > end == len(word)) or begin + end > len(word):
            # The library counts beyond the word's ends then, and panics.
            problem = f"nothing is left of {word[:20]!r}"
            raise UndecodableError(problem)
        return word[begin : len(word) - end]


class Sequence(msgspec.Struct, frozen=True, tag=True):
    """One decoder after another."""

    decoders: list[Decoder]

    def join(self, words: list[str]) -> list[str]:
        """Join the words of tokens to fewer or other ones."""
        for decoder in self.decoders:
            words = decoder.join(words)
        return words


Decoder: TypeAlias = (
    ByteLevel
    | ByteFallback
    | Metaspace
    | WordPiece
    | BPEDecoder
    | CTC
    | Fuse
    | Replace
    | Strip
    | Sequence
)


def growth(decoder: Decoder) -> float:
    """How many times longer a decoder can make a text, but for a character a token."""
    match decoder:
        case Sequence():
            return math.prod(growth(part) for part in decoder.decoders)
        case Replace():
            # What a regular expression matches may be empty, and takes any time to find.
            old = decoder.pattern.string
            return max(1, len(decoder.content) / len(old)) if old else math.inf
        case BPEDecoder():
            return 1 if decoder.suffix else 2
        case CTC():
            return 1 if decoder.word_delimiter_token else 2
    return 1


def _bytes_of(word: str) -> bytes:
    if _LETTERS.issuperset(word):
        return bytes(map(BYTE_OF_LETTER.__getitem__, word))
    return word.encode()


def _characters(raw: bytearray) -> list[str]:
    """The characters of these bytes; a mark for each byte where they are not UTF-8."""
    try:
        return [raw.decode("utf-8")]
    except UnicodeDecodeError:
        return [_BROKEN] * len(raw)


def _clean_up(word: str) -> str:
    for old, new in _CLEAN_UP:
        word = word.replace(old, new)
    return word
