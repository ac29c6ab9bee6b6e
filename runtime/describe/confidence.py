"""How sure the model was: of a whole description, and of the words of one of its fields.

Both are plain means of token probabilities under the model's own softmax, before the n-gram ban.
The EOS token is not part of the text and does not count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from c2t.runtime.bundle.text_decoders import ByteLevel
from c2t.runtime.bundle.text_tokenizer import TextTokenizer

Decode = Callable[[Sequence[int]], str]

# A byte-level token may end in the middle of a character; decoding shows this mark for it.
BROKEN = "�"


def text_confidence(probabilities: Sequence[float]) -> float | None:
    """Mean probability of a text's tokens (without EOS); None for a text without tokens."""
    return sum(probabilities) / len(probabilities) if probabilities else None


def span_confidence(
    spans: Sequence[tuple[int, int]], ends: Sequence[int], probabilities: Sequence[float]
) -> float | None:
    """Mean probability of the tokens that hold a character of stretches of a text.

    Args:
        spans: Start and end of each stretch, in characters.
        ends: Where each token ends, see `token_ends`.
        probabilities: Of each token.

    Returns:
        None if no token holds any.
    """
    chosen: list[float] = []
    for start, end in spans:
        first = bisect_left(ends, start) if start else 0
        # That token ends where the stretch starts. Those behind it that complete no character
        # belong to the one that a later token completes.
        if start and first < len(ends) and ends[first] == start:
            first += 1
        chosen += probabilities[first : bisect_left(ends, end) + 1]
    return sum(chosen) / len(chosen) if chosen else None


def token_ends(text: str, token_ids: Sequence[int], decode: Decode) -> list[int]:
    """Where the whole characters of each token end in a text.

    Args:
        text: The decoded text of `token_ids`.
        token_ids: Its tokens, without EOS.
        decode: Text of a sequence of tokens.

    Returns:
        [T] Characters of the text up to each token's last whole one; it never falls.
    """
    ends = []
    before = 0
    for count in range(1, len(token_ids) + 1):
        # Decoding whole beginnings is the only way that is right for every tokenizer: a token's
        # own text may lack a leading space or hold half a character.
        after = len(decode(token_ids[:count]).rstrip(BROKEN))
        before = max(before, min(after, len(text)))
        ends.append(before)
    return ends


def byte_token_ends(
    text: str, token_ids: Sequence[int], tokenizer: TextTokenizer
) -> list[int] | None:
    """The same, sooner, of a byte-level tokenizer; None where its tokens do not add up to the text.

    Each letter of such a token is one byte of the text: its length is all that is needed.
    """
    if not isinstance(tokenizer.decoder, ByteLevel) or BROKEN in text:
        return None
    words, special = tokenizer.words, tokenizer.special
    lengths = [len(word) if (word := words.get(t, "")) not in special else 0 for t in token_ids]
    ends = list(accumulate(lengths))
    raw = text.encode()
    if not ends or ends[-1] != len(raw):
        return None
    if len(raw) == len(text):
        return ends
    # Characters whose last byte is among the first so many.
    whole = [0]
    for character in text:
        width = len(character.encode())
        whole += [whole[-1]] * (width - 1)
        whole.append(whole[-1] + 1)
    return [whole[end] for end in ends]
