"""Text tokens of a text, as the tokenizer of a bundle makes them.

One decision: byte-pair encoding (BPE) of the kinds that decoders have is done here, so that the
lean installation can score words that a user gives. A tokenizer of another kind is opened by the
library `tokenizers`, where that is installed.

Sources: Sennrich et al., 2016 (BPE); the byte alphabet of GPT-2; `models.BPE` of `tokenizers`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from c2t.runtime.bundle.text_merges import Merges
from c2t.runtime.bundle.text_pieces import GPT2, is_known, pieces
from c2t.runtime.bundle.text_tokenizer import HINT, TOKENIZER_BYTES_MAX
from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import BundleError, C2TError, first_line
from c2t.runtime.system.utf8_text import check_utf8

TEXT_LETTERS_MAX = 4096  # joining takes the square of a piece's length
# Of a whole prompt, whose pieces are as short. A sentence of 2,048 genes has some 14,000 letters.
PROMPT_LETTERS_MAX = 1 << 20
KEPT_MAX = 1 << 14  # pieces whose tokens are kept
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
WORD_MARK = "▁"
_WORDS = re.compile(f"{WORD_MARK}*[^{WORD_MARK}]+|{WORD_MARK}+")
_BYTE = re.compile("<0x[0-9A-F]{2}>").fullmatch


class TextEncoder(Protocol):
    """Makes text tokens of texts; threads may share it."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Text tokens, without special ones.

        Raises:
            C2TError: The tokenizer has no token for a letter, or the text is too long.
        """
        ...

    def encode_letters(self, text: str) -> tuple[int, ...]:
        """The same of a long text, in which words of special tokens are letters like others.

        Raises:
            C2TError: The tokenizer has no token for a letter, or the text is too long.
        """
        ...


class _Model(msgspec.Struct):
    type: str | None = None
    vocab: dict[str, TokenId] | list[tuple[str, float]] = {}
    merges: list[str | tuple[str, str]] = []
    byte_fallback: bool = False
    ignore_merges: bool = False
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class _AddedToken(msgspec.Struct):
    content: str
    special: bool = False


class _File(msgspec.Struct):
    model: _Model
    normalizer: Any = None
    pre_tokenizer: Any = None
    added_tokens: list[_AddedToken] | None = None


class BytePairEncoder:
    """Byte-pair encoding; see `TextEncoder`.

    Args:
        vocabulary: The text token of each word; of those of several letters, only where
            `whole_pieces` asks for them.
        merges: Which neighbours are joined.
        split: The pieces of a text, in the letters of the vocabulary.
        byte_fallback: Whether a letter without a token is written as its bytes, "<0xE2>".
        whole_pieces: Whether a piece that is a word is its token, whatever the merges say.
        refused: Words that stand for tokens of their own, such as "<|eot_id|>".
        added: Words with a token of their own that is not special, such as runs of spaces.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Merges,
        split: Callable[[str], Iterator[str]],
        *,
        byte_fallback: bool = False,
        whole_pieces: bool = False,
        refused: frozenset[str] = frozenset(),
        added: Mapping[str, int] | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._added = added or {}
        words = sorted(self._added, key=len, reverse=True)  # the longest that fits is taken
        self._any_added = re.compile("|".join(map(re.escape, words))) if words else None
        self._merges = merges
        self._split = split
        self._byte_fallback = byte_fallback
        self._whole_pieces = whole_pieces
        self._refused = refused
        self._kept: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> tuple[int, ...]:
        """See `TextEncoder.encode`."""
        _check(text, self._refused)
        return tuple(self._tokens(text))

    def encode_letters(self, text: str) -> tuple[int, ...]:
        """See `TextEncoder.encode_letters`."""
        _check_length(text, PROMPT_LETTERS_MAX)
        check_utf8(text)
        if self._any_added is None:
            return tuple(self._tokens(text))
        tokens, done = list[int](), 0
        for match in self._any_added.finditer(text):
            tokens += self._tokens(text[done : match.start()])
            tokens.append(self._added[match[0]])
            done = match.end()
        return (*tokens, *self._tokens(text[done:]))

    def _tokens(self, text: str) -> Iterator[int]:
        for piece in self._split(text):
            _check_length(piece, TEXT_LETTERS_MAX)
            yield from self._kept_piece(piece)

    def _kept_piece(self, piece: str) -> tuple[int, ...]:
        """The tokens of a piece; names have few different words."""
        tokens = self._kept.get(piece)
        if tokens is None:
            tokens = tuple(self._piece(piece))
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[piece] = tokens
        return tokens

    def _piece(self, piece: str) -> Iterator[int]:
        if self._whole_pieces and piece in self._vocabulary:
            yield self._vocabulary[piece]
            return
        yield from self._merges.apply([token for letter in piece for token in self._letter(letter)])

    def _letter(self, letter: str) -> list[int]:
        if letter in self._vocabulary:
            return [self._vocabulary[letter]]
        if self._byte_fallback:
            words = [f"<0x{byte:02X}>" for byte in letter.encode()]
            if all(word in self._vocabulary for word in words):
                return [self._vocabulary[word] for word in words]
        problem = f"the bundle's tokenizer has no token for {letter!r}"
        raise C2TError(problem, hint="write it in other letters")


class _LibraryEncoder:
    """A tokenizer that the library opened; see `TextEncoder`."""

    def __init__(self, content: bytes, refused: frozenset[str]) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            problem = "the bundle's tokenizer is of a kind that c2t cannot make tokens with"
            raise BundleError(problem, hint="run `pip install tokenizers`") from error
        try:
            self._tokenizer = Tokenizer.from_str(content.decode())
            self._letters = Tokenizer.from_str(content.decode())
            self._letters.encode_special_tokens = True
        except Exception as error:  # the library raises nothing more special
            problem = f"tokenizer.json cannot be opened: {first_line(error)}"
            raise BundleError(problem, hint=HINT) from error
        self._refused = refused

    def encode(self, text: str) -> tuple[int, ...]:
        """See `TextEncoder.encode`."""
        _check(text, self._refused)
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_letters(self, text: str) -> tuple[int, ...]:
        """See `TextEncoder.encode_letters`."""
        _check_length(text, PROMPT_LETTERS_MAX)
        check_utf8(text)
        return tuple(self._letters.encode(text, add_special_tokens=False).ids)


def open_encoder(path: Path) -> TextEncoder:
    """Open a `tokenizer.json` to make tokens with.

    Raises:
        BundleError: It is no tokenizer, or of a kind for which a library is missing.
    """
    content = read_bounded(
        path, bytes_max=TOKENIZER_BYTES_MAX, error=BundleError, hint=HINT, what="a tokenizer"
    )
    file = decode_json(
        content, _File, name=path.name, error=BundleError, hint=HINT, what="a tokenizer"
    )
    refused = frozenset(token.content for token in file.added_tokens or [] if token.content.strip())
    split = _splitter(file)
    model, words = file.model, file.model.vocab
    plain = not (model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix)
    if model.type != "BPE" or not plain or split is None or not isinstance(words, dict):
        return _LibraryEncoder(content, refused)
    if len(set(words.values())) < len(words):
        problem = f"{path.name} has several words for one text token"
        raise BundleError(problem, hint=HINT)
    mark = WORD_MARK if split in _MARKING else ""
    merges = Merges(words, model.merges, mark=mark, name=path.name, hint=HINT)
    if mark and not merges.crosses:
        split = _in_words(split)
    added = _plain_added(file, words)
    if not model.ignore_merges:
        words = {word: token for word, token in words.items() if len(word) == 1 or _BYTE(word)}
    return BytePairEncoder(
        words,
        merges,
        split,
        byte_fallback=model.byte_fallback,
        whole_pieces=model.ignore_merges,
        refused=refused,
        added=added,
    )


def _plain_added(file: _File, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Tokens of added words that are not special; those that the model lacks follow its own."""
    found: dict[str, int] = {}
    following = len(vocabulary)
    for token in file.added_tokens or []:
        number = vocabulary.get(token.content, following)
        following += token.content not in vocabulary
        if token.content and not token.special:
            found.setdefault(token.content, number)
    return found


def _check(text: str, refused: frozenset[str]) -> None:
    _check_length(text, TEXT_LETTERS_MAX)
    check_utf8(text)
    if found := sorted(word for word in refused if word in text):
        problem = f"the text holds {found[0]!r}, which the tokenizer keeps for itself"
        raise C2TError(problem, hint="leave it out")


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        problem = f"a text of {len(text):,} letters"
        raise C2TError(problem, hint=f"give one of at most {most:,}")


def _splitter(file: _File) -> Callable[[str], Iterator[str]] | None:
    """How a text becomes pieces, None for a kind that is not known here."""
    normal, before = file.normalizer, file.pre_tokenizer
    kinds = _parts(normal, "normalizers"), _parts(before, "pretokenizers")
    for known, marked in _WITH_MARKS:
        if kinds == known:
            return marked
    if kinds[0] == []:
        composed = False
    elif kinds[0] == [{"type": "NFC"}]:
        composed = True
    else:
        return None
    pattern = _byte_level_pattern(kinds[1])
    if pattern is None:
        return None

    def split(text: str) -> Iterator[str]:
        text = unicodedata.normalize("NFC", text) if composed else text
        for piece in pieces(text, pattern):
            yield "".join(_BYTE_LETTERS[byte] for byte in piece.encode())

    return split


def _byte_level_pattern(parts: list[Any] | None) -> str | None:
    """The pattern of a pre-tokenizer over bytes, None where it is not known."""
    if not parts or not isinstance(parts[-1], dict) or parts[-1].get("type") != "ByteLevel":
        return None
    last = parts[-1]
    if last.get("add_prefix_space", True):
        return None
    if len(parts) == 1:
        return GPT2 if last.get("use_regex", True) else None
    first = parts[0]
    if len(parts) > 2 or last.get("use_regex", True) or not isinstance(first, dict):
        return None
    regex = first.get("pattern")
    pattern = regex.get("Regex") if isinstance(regex, dict) else None
    shape = first.get("type"), first.get("behavior"), first.get("invert", False)
    known = shape == ("Split", "Isolated", False) and isinstance(pattern, str)
    return str(pattern) if known and is_known(str(pattern)) else None


def _parts(stage: Any, name: str) -> list[Any] | None:
    """A stage as the list of its parts; None where it is no stage."""
    if stage is None:
        return []
    if not isinstance(stage, dict):
        return None
    if stage.get("type") == "Sequence":
        parts = stage.get(name)
        return parts if isinstance(parts, list) else None
    return [stage]


def _all_marked(text: str) -> Iterator[str]:
    """A text as one piece, a mark before each of its words."""
    if text:
        yield WORD_MARK + text.replace(" ", WORD_MARK)


def _once_marked(text: str) -> Iterator[str]:
    """The same, but a text that begins with a space gets no further mark."""
    marked = text.replace(" ", WORD_MARK)
    if marked:
        yield marked if marked.startswith(WORD_MARK) else WORD_MARK + marked


def _in_words(split: Callable[[str], Iterator[str]]) -> Callable[[str], Iterator[str]]:
    """The same text in words, each with its marks: where no merge joins two, nothing changes."""

    def words(text: str) -> Iterator[str]:
        for piece in split(text):
            yield from _WORDS.findall(piece)

    return words


def _inner_marked(text: str) -> Iterator[str]:
    """The same without a mark before the first word."""
    if text:
        yield text.replace(" ", WORD_MARK)


_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": WORD_MARK}
_SPLIT = {
    **{"type": "Split", "pattern": {"String": " "}},
    **{"behavior": "MergedWithPrevious", "invert": False},
}
_METASPACE = {"type": "Metaspace", "replacement": WORD_MARK, "split": False}
_MARKING = (_all_marked, _once_marked, _inner_marked)
# Normalizers and pre-tokenizers, and what they make of a text.
_WITH_MARKS: tuple[tuple[Any, Callable[[str], Iterator[str]]], ...] = (
    (([{"type": "Prepend", "prepend": WORD_MARK}, _REPLACE], []), _all_marked),  # Llama 2
    (([], [_METASPACE | {"prepend_scheme": "first"}]), _once_marked),  # Mistral
    (([], [_METASPACE | {"prepend_scheme": "always"}]), _once_marked),
    (([_REPLACE], [_SPLIT]), _inner_marked),  # Gemma 2: no space is left to split at
)


def _byte_letters() -> list[str]:
    """The letter of each byte, as in GPT-2: its own where it can be seen, else one from 256 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)}
    letters, more = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in seen else more))
        more += byte not in seen
    return letters


_BYTE_LETTERS = _byte_letters()
