"""The texts of text tokens, and where each token ends in them.

One decision: the last texts are kept. A trained model writes few different captions for the cells
of a file, and to decode one takes as long as a step of a small model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text
from c2t.runtime.describe.confidence import byte_token_ends, token_ends

Kept = TypeVar("Kept")
KEPT_TEXTS_MAX = 1 << 10
KEPT_TOKENS_MAX = 1 << 9  # of a text that is kept: at most some 40 MB together


class DecodedTexts:
    """Decodes texts; for one thread.

    Args:
        tokenizer: The bundle's.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[tuple[int, ...], str] = {}
        self._ends: dict[tuple[int, ...], list[int]] = {}

    def text(self, token_ids: tuple[int, ...]) -> str:
        """The text, see `c2t.runtime.bundle.text_tokenizer.decode_text`.

        Raises:
            BundleError: The tokenizer cannot decode it.
        """
        text = self._texts.get(token_ids)
        if text is None:
            text = decode_text(self._tokenizer, token_ids)
            _keep(self._texts, token_ids, text)
        return text

    def ends(self, text: str, token_ids: tuple[int, ...]) -> list[int]:
        """Where each token ends, see `c2t.runtime.describe.confidence.token_ends`.

        Args:
            text: The decoded text of the tokens.
            token_ids: Without EOS.
        """
        ends = self._ends.get(token_ids)
        if ends is None:
            ends = byte_token_ends(text, token_ids, self._tokenizer)
            if ends is None:
                ends = token_ends(text, token_ids, self._begun)
            _keep(self._ends, token_ids, ends)
        return ends

    def _begun(self, token_ids: Sequence[int]) -> str:
        """The beginning of a text."""
        return decode_text(self._tokenizer, token_ids, whole=False)


def _keep(table: dict[tuple[int, ...], Kept], token_ids: tuple[int, ...], found: Kept) -> None:
    if len(token_ids) > KEPT_TOKENS_MAX:
        return
    if len(table) >= KEPT_TEXTS_MAX:
        table.clear()
    table[token_ids] = found
