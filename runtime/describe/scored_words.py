"""The words of a field of a text, ready to be scored: those written there, or another name.

One decision: the end of the field belongs to the words. Without it "B cell" would hold all of
"B cell precursor". So the token that completes the field counts, too.
"""

from __future__ import annotations

from bisect import bisect_right

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.describe.confidence import token_ends
from c2t.runtime.describe.description import Description
from c2t.runtime.explain.scorer import Float64, ScoredWords
from c2t.runtime.fields.reader import Field
from c2t.runtime.generation.candidate_names import NamePlace, candidate_names
from c2t.runtime.generation.candidate_trie import CandidateTrie
from c2t.runtime.system.errors import C2TError

ARTICLES = ("a", "an")


def written_words(bundle: Bundle, description: Description, field: Field) -> ScoredWords:
    """The words that a text has in a field, with what it says in between where they are several.

    Args:
        bundle: Has the tokenizer.
        description: Of one cell, with its tokens.
        field: What it says.

    Raises:
        C2TError: No token holds them.
    """
    text, tokens = description.text or "", description.tokens
    ends = token_ends(text, tokens, lambda ids: decode_text(bundle.tokenizer, ids, whole=False))
    start, end = field.spans[0][0], field.spans[-1][1]
    first = bisect_right(ends, start)
    # The first token that goes on behind the words; at the end of the text, the one that ends it.
    last = min(bisect_right(ends, end), len(tokens) - 1)
    if first > last:
        problem = f"the words {field.words!r} hold no token of their own"
        raise C2TError(problem, hint="explain another field, or a label")
    trie = CandidateTrie(tokens[:first], [tokens[first : last + 1]])
    return ScoredWords(words=field.words, trie=trie, combine=_only_path)


def named_words(bundle: Bundle, text: str, field: Field, *, label: str) -> ScoredWords:
    """Another name at the place of a field.

    Args:
        bundle: Has the tokenizer.
        text: Says what comes before the field and ends it.
        field: Where it is.
        label: The name.

    Raises:
        C2TError: A name that is empty, too long, or that the tokenizer cannot write there.
    """
    start, end = field.spans[0][0], field.spans[-1][1]
    opening, rest = text[:start].rstrip(), text[end:]
    articles: tuple[str, ...] = ("",)
    if opening.rpartition(" ")[2] in ARTICLES:
        opening, articles = opening.rpartition(" ")[0], ARTICLES
    behind = rest.split(" ")
    ends: tuple[str, ...] = (f" {behind[1]}" if rest.startswith(" ") else rest[:1],)
    if ends[0] in (",", "."):
        ends = (",", ".")
    place = NamePlace(opening=opening, articles=articles, ends=ends)
    names = candidate_names(bundle, [label], place)

    def combine(paths: Float64) -> Float64:
        combined: Float64 = names.combine(paths)[:, 0]
        return combined

    return ScoredWords(words=label, trie=names.trie, combine=combine)


def _only_path(paths: Float64) -> Float64:
    only: Float64 = paths[:, 0]
    return only
