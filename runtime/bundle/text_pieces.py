r"""How a tokenizer cuts a text into the pieces within which it joins letters to text tokens.

One decision: the patterns of published tokenizers are known here by name, and written anew over
kinds of letters. A pattern from a file is compared with these and never run: a stranger's regular
expression may take for ever.

Sources: `ByteLevel` of the library `tokenizers` (the pattern of GPT-2), and the `Split` patterns in
the `tokenizer.json` of Llama 3 and Qwen 2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Kinds: a letter is "L", a number "N", a line's end "\n", another white space than " " is "\t", and
# all else ".".
_GPT2 = re.compile(r" ?L+| ?N+| ?\.+|\s+(?!\S)|\s+")
_LLAMA3 = re.compile(r"[^\nLN]?L+|N{1,3}| ?\.+\n*|\s*\n+|\s+(?!\S)|\s+")
_QWEN2 = re.compile(r"[^\nLN]?L+|N| ?\.+\n*|\s*\n+|\s+(?!\S)|\s+")
_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_LOWER, _ANY_CASE = re.compile(_ENDINGS), re.compile(_ENDINGS, re.IGNORECASE)

GPT2 = "the pattern of GPT-2"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"(?i:{_ENDINGS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_REST}"
QWEN2 = rf"(?i:{_ENDINGS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_REST}"
_PATTERNS = {GPT2: (_LOWER, _GPT2), LLAMA3: (_ANY_CASE, _LLAMA3), QWEN2: (_ANY_CASE, _QWEN2)}


def is_known(pattern: str) -> bool:
    """Whether this is the text of a pattern that `pieces` knows."""
    return pattern in _PATTERNS


def pieces(text: str, pattern: str) -> Iterator[str]:
    """The pieces of a text; joined, they are the text.

    Args:
        text: Any text.
        pattern: One that `is_known`.
    """
    endings, rest = _PATTERNS[pattern]
    kinds = "".join(map(_kind, text))
    at = 0
    while at < len(text):
        found = endings.match(text, at) or rest.match(kinds, at)
        assert found is not None  # every kind is in one of the alternatives
        yield text[at : found.end()]
        at = found.end()


def _kind(letter: str) -> str:
    if letter == " ":
        return letter
    if letter in "\r\n":
        return "\n"
    if letter.isspace():
        return "\t"
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else "."
