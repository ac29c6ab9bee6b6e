"""Words of text tokens as one text: as strings in a dict, 128,000 of them take 22 MB.

Those that texts have are few, and are kept as strings too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


class WordTable(Mapping[int, str]):
    """Words by text token; read-only.

    Args:
        words: Copied.
    """

    def __init__(self, words: Mapping[int, str]) -> None:
        tokens = sorted(words)
        encoded = [words[token].encode("utf-8", "surrogatepass") for token in tokens]
        self._tokens = np.array(tokens, np.int64)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._text = b"".join(encoded)
        self._used: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        word = self._used.get(token)
        if word is None:
            word = self._used[token] = self._word(token)
        return word

    def _word(self, token: int) -> str:
        at = int(np.searchsorted(self._tokens, token))
        if at == len(self._tokens) or self._tokens[at] != token:
            raise KeyError(token)
        return str(self._text[self._ends[at] : self._ends[at + 1]], "utf-8", "surrogatepass")

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[int]:
        return iter(self._tokens.tolist())
