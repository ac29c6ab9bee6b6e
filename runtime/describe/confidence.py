"""How sure the model was: of a whole description, and of the words that name the cell type.

Both are plain means of token probabilities under the model's own softmax, before the n-gram ban.
The EOS token is not part of the text and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from c2t.runtime.describe.caption import cell_type_span

Decode = Callable[[Sequence[int]], str]

# A byte-level token may end in the middle of a character; decoding shows this mark for it.
BROKEN = "�"


def text_confidence(probabilities: Sequence[float]) -> float | None:
    """Mean probability of a text's tokens (without EOS); None for a text without tokens."""
    return sum(probabilities) / len(probabilities) if probabilities else None


def cell_type_confidence(
    text: str, token_ids: Sequence[int], probabilities: Sequence[float], decode: Decode
) -> float | None:
    """Mean probability of the tokens that hold a character of the cell type.

    Args:
        text: The decoded text of `token_ids`.
        token_ids: Its tokens, without EOS.
        probabilities: Of each token.
        decode: Text of a sequence of tokens.

    Returns:
        None if the text does not say "consists of a ..., ".
    """
    span = cell_type_span(text)
    if span is None:
        return None
    start, end = span
    chosen: list[float] = []
    before = 0
    for count, probability in enumerate(probabilities, start=1):
        # Decoding whole beginnings is the only way that is right for every tokenizer: a token's
        # own text may lack a leading space or hold half a character.
        after = len(decode(token_ids[:count]).rstrip(BROKEN))
        after = max(before, min(after, len(text)))
        # A token that completes no character belongs to the one that a later token completes.
        if before < end and (after > start if after > before else before >= start):
            chosen.append(probability)
        before = after
        if before >= end:
            break
    return sum(chosen) / len(chosen) if chosen else None
