"""Stop strings: a text ends with the token that completes one of them.

As in transformers (`StopStringCriteria`): the strings are looked for in the letters of the tokens,
special ones included; the token that completes one may go on beyond it; and the text keeps all of
its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from c2t.runtime.bundle.manifest import STOP_LETTERS_MAX, STOPS_MAX
from c2t.runtime.bundle.text_decoders import UndecodableError
from c2t.runtime.bundle.text_tokenizer import TextTokenizer
from c2t.runtime.system.errors import C2TError

# A first word of a text may lose its space; what comes behind this one keeps it.
_BEFORE = "a"


def check_stop_strings(strings: Sequence[str]) -> None:
    """Refuse strings that cannot stop a text.

    Raises:
        C2TError: An empty or very long one, or very many; one string instead of several.
    """
    if isinstance(strings, str):
        problem = f"the stop strings are one string: {strings[:STOP_LETTERS_MAX]!r}"
        raise C2TError(problem, hint="give a tuple, also of one; an empty one stops nothing")
    if len(strings) > STOPS_MAX:
        problem = f"there are {len(strings)} stop strings"
        raise C2TError(problem, hint=f"give at most {STOPS_MAX}")
    for string in strings:
        if not 0 < len(string) <= STOP_LETTERS_MAX:
            problem = f"a stop string has {len(string)} letters"
            hint = f"give 1 to {STOP_LETTERS_MAX}"
            if not string:
                hint += '; --stop "" alone switches off the stop strings of the bundle'
            raise C2TError(problem, hint=hint)


class StopStrings:
    """Looks for stop strings at the end of token sequences; threads may share it.

    Args:
        strings: At least one.
        tokenizer: Knows the letters of tokens.

    Raises:
        C2TError: See `check_stop_strings`.
    """

    def __init__(self, strings: Sequence[str], tokenizer: TextTokenizer) -> None:
        check_stop_strings(strings)
        self._strings = tuple(strings)
        self._longest = max(map(len, strings))
        self._tokenizer = tokenizer
        self._letters: dict[int, str] = {}

    def complete(self, tokens: Sequence[int], before: Sequence[int] = ()) -> bool:
        """Whether the last token completes a stop string.

        Args:
            tokens: Of the text so far, at least one.
            before: Tokens of the prompt: a stop string may begin in them.
        """
        last = self.letters(tokens[-1])
        if not last:
            return False
        parts, length = [last], len(last)
        for token in chain(reversed(tokens[:-1]), reversed(before)):
            if length >= len(last) + self._longest - 1:
                break
            parts.append(self.letters(token))
            length += len(parts[-1])
        text = "".join(reversed(parts))
        begins = len(text) - len(last)  # of the last token
        return any(
            text.find(string, max(0, begins - len(string) + 1)) >= 0 for string in self._strings
        )

    def letters(self, token: int) -> str:
        """What a token adds to a text."""
        known = self._letters.get(token)
        if known is None:
            word = self._tokenizer.words.get(token)
            try:
                known = "" if word is None else self._tokenizer.join([_BEFORE, word])[1:]
            except UndecodableError:
                known = ""
            self._letters[token] = known
        return known
