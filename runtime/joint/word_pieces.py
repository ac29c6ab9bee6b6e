"""WordPiece: text tokens of a text, as BERT's tokenizer makes them.

One decision: a text is only text. "[SEP]" in a query becomes its letters, never the special token,
which would end the text there; the special tokens around it are the caller's.

Sources: Devlin et al., 2019; `BertNormalizer`, `BertPreTokenizer` and `models.WordPiece` of the
library `tokenizers`, whose results these are, token for token, for all letters of Unicode 8; what
newer marks and accents are, its tables do not know.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import BundleError, C2TError
from c2t.runtime.system.utf8_text import check_utf8

TOKENIZER_BYTES_MAX = 64 << 20  # BioBERT's has 0.7 MB
LETTERS_MAX = 1 << 16  # of a text; 128 tokens have some 600
HINT = "export the bundle again"
# Blocks of Unicode that BERT takes for Chinese: each such letter is a word.
_CHINESE = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _Model(msgspec.Struct):
    type: Literal["WordPiece"]
    vocab: dict[str, TokenId]
    unk_token: str = "[UNK]"
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class _Normalizer(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["BertNormalizer"]
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None  # None: where letters are lower-cased
    lowercase: bool = True


class _PreTokenizer(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["BertPreTokenizer"]


class _File(msgspec.Struct):
    model: _Model
    normalizer: _Normalizer
    pre_tokenizer: _PreTokenizer
    padding: Any = None  # as the cut and what stands around a text: the manifest says it
    truncation: Any = None
    post_processor: Any = None


class WordPieces:
    """BERT's tokenizer; threads may share it.

    Args:
        vocabulary: The token of each piece; pieces inside a word begin with `prefix`.
        unknown: The token of a word that has no pieces.
        prefix: "##".
        word_letters: A longer word is unknown.
        clean: Whether control characters are dropped and every white space is a space.
        chinese: Whether each Chinese letter is a word.
        accents: Whether accents are taken off.
        lower: Whether letters are lower-cased.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        unknown: int,
        *,
        prefix: str = "##",
        word_letters: int = 100,
        clean: bool = True,
        chinese: bool = True,
        accents: bool = False,
        lower: bool = False,
    ) -> None:
        self.vocabulary = vocabulary
        self.unknown = unknown
        self._prefix = prefix
        self._word_letters = word_letters
        self._clean, self._chinese = clean, chinese
        self._accents, self._lower = accents, lower
        self._longest = max(map(len, vocabulary), default=0)

    def encode(self, text: str) -> list[int]:
        """Text tokens of a text, without special ones.

        Raises:
            C2TError: It has more than `LETTERS_MAX` letters, or is no UTF-8.
        """
        if len(text) > LETTERS_MAX:
            problem = f"the text {text[:40]!r}... has {len(text):,} letters"
            raise C2TError(problem, hint=f"give at most {LETTERS_MAX:,}")
        check_utf8(text)
        return [token for word in self._words(text) for token in self._pieces(word)]

    def _words(self, text: str) -> Iterator[str]:
        """Words and marks of a text, normalised."""
        letters = "".join(map(self._cleaned, text)) if self._clean else text
        if self._chinese:
            letters = "".join(f" {one} " if _is_chinese(one) else one for one in letters)
        if self._accents:
            apart = unicodedata.normalize("NFD", letters)
            letters = "".join(one for one in apart if unicodedata.category(one) != "Mn")
        if self._lower:
            # Letter by letter: str.lower makes another sigma at the end of a word.
            letters = "".join(one.lower() for one in letters)
        word = ""
        for one in letters:
            if _is_space(one) or _is_mark(one):
                if word:
                    yield word
                word = ""
                if not _is_space(one):
                    yield one
            else:
                word += one
        if word:
            yield word

    def _cleaned(self, letter: str) -> str:
        if letter in "\t\n\r":
            return " "
        if letter in "\0\ufffd" or unicodedata.category(letter)[0] == "C":
            return ""
        return " " if _is_space(letter) else letter

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces from the left; an unknown token where they do not make up the word."""
        if len(word) > self._word_letters:
            return [self.unknown]
        found, first = [], 0
        while first < len(word):
            stop = min(len(word), first + self._longest)
            prefix = self._prefix if first else ""
            while stop > first and prefix + word[first:stop] not in self.vocabulary:
                stop -= 1
            if stop == first:
                return [self.unknown]
            found.append(self.vocabulary[prefix + word[first:stop]])
            first = stop
        return found


def open_word_pieces(path: Path) -> WordPieces:
    """Open the `tokenizer.json` of a text tower.

    Raises:
        BundleError: It is too long, or no WordPiece tokenizer of BERT.
    """
    content = read_bounded(
        path, bytes_max=TOKENIZER_BYTES_MAX, error=BundleError, hint=HINT, what="a tokenizer"
    )
    return read_word_pieces(content, path.name, error=BundleError, hint=HINT)


def read_word_pieces(content: bytes, name: str, *, error: type[C2TError], hint: str) -> WordPieces:
    """Read the content of a `tokenizer.json`.

    Args:
        content: Of the file.
        name: The file, for the error's text.
        error: Class of the error to raise.
        hint: How to mend it.

    Raises:
        C2TError: Of the class `error`.
    """
    what = "a WordPiece tokenizer as BERT's"
    file = decode_json(content, _File, name=name, error=error, hint=hint, what=what)
    model, normal = file.model, file.normalizer
    if model.unk_token not in model.vocab:
        problem = f"{name} has no token {model.unk_token!r}, which unknown words become"
        raise error(problem, hint=hint)
    accents = normal.lowercase if normal.strip_accents is None else normal.strip_accents
    return WordPieces(
        model.vocab,
        model.vocab[model.unk_token],
        prefix=model.continuing_subword_prefix,
        word_letters=model.max_input_chars_per_word,
        clean=normal.clean_text,
        chinese=normal.handle_chinese_chars,
        accents=accents,
        lower=normal.lowercase,
    )


def _is_chinese(letter: str) -> bool:
    return any(first <= ord(letter) <= last for first, last in _CHINESE)


def _is_space(letter: str) -> bool:
    """White space by Unicode's property, which str.isspace widens by four separators."""
    return letter.isspace() and letter not in "\x1c\x1d\x1e\x1f"


def _is_mark(letter: str) -> bool:
    """Punctuation: every mark of ASCII, and Unicode's category P."""
    if letter.isascii():
        return letter.isprintable() and not letter.isalnum() and letter != " "
    return unicodedata.category(letter)[0] == "P"
