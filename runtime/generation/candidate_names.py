"""Names that a caption could say at one place, as token paths, and the probability of each name.

Two decisions. A name's probability is that of its words *and* of the end of the field after them:
without it "B cell" would hold all of "B cell precursor". Of "T cell," that is not enough where
"T cell, CD4-positive" is a candidate as well, so the paths that go on are subtracted. And a name is
written after "a" and after "an"; its probability is the sum of both, and over the ends of a field.
So the names are disjoint events: their probabilities add up to at most 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.text_encoder import TextEncoder
from c2t.runtime.bundle.text_tokenizer import TextTokenizer, decode_text
from c2t.runtime.generation.candidate_trie import CandidateTrie
from c2t.runtime.system.errors import C2TError

Float64 = NDArray[np.float64]
NAME_LETTERS_MAX = 300  # the longest name of the Cell Ontology has 190
GOES_ON = " a"  # what follows a field's end: a space and a word


@dataclass(frozen=True, kw_only=True)
class NamePlace:
    """Where a caption names something.

    Args:
        opening: The caption's words before the article; "" where the name begins the text, behind
            a space.
        articles: What may stand between the opening and the name; "" for none.
        ends: What may end the field; "" for the end of the text.
        at_once: Whether a name that begins the text has no space before it.
    """

    opening: str = "This sample consists of"
    articles: tuple[str, ...] = ("a", "an")
    ends: tuple[str, ...] = (",", ";", ".")
    at_once: bool = False


class CandidateNames:
    """Names at one place of a caption, with their trie.

    Args:
        names: Different names, at least one.
        place: Where they would stand.
        encoder: Makes text tokens.
        tokenizer: Turns them back, to check that nothing was lost.
        end_tokens: Each may end a text.

    Attributes:
        trie: The token paths: of each name one after every article and before every end.

    Raises:
        C2TError: A name that is empty, too long, there twice, or that the tokenizer cannot write.
    """

    def __init__(
        self,
        names: Sequence[str],
        place: NamePlace,
        *,
        encoder: TextEncoder,
        tokenizer: TextTokenizer,
        end_tokens: Sequence[int] = (),
    ) -> None:
        self.names = tuple(names)
        self.place = place
        self._encoder, self._tokenizer = encoder, tokenizer
        if not names:
            problem = "there are no candidates"
            raise C2TError(problem, hint="give at least one name")
        seen: set[str] = set()
        for name in names:
            if problem := _problem(name, seen):
                raise C2TError(problem, hint="give different names, each in one line")
            seen.add(name)
        opening = encoder.encode(place.opening)
        ends: list[tuple[str, tuple[int, ...]]] = [(end, ()) for end in place.ends if end]
        if "" in place.ends:
            ends += (("", (token,)) for token in end_tokens)
        paths = [
            (*self._path(name, article, end, opening), *ended)
            for name in names
            for article in place.articles
            for end, ended in ends
        ]
        self.trie = CandidateTrie(opening, paths)
        self._parents = _parents(self.trie.paths)

    def __len__(self) -> int:
        return len(self.names)

    def combine(self, path_scores: Float64) -> Float64:
        """Log probability [B,N] of each name, from those [B,P] of the trie's paths."""
        scores = path_scores.copy()
        with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
            taken = np.zeros_like(path_scores)
            for path, parent in self._parents:  # what goes on belongs to the longer name
                share = np.exp(path_scores[:, path] - path_scores[:, parent])
                taken[:, parent] += np.nan_to_num(share, nan=0.0)
            scores += np.log1p(-np.minimum(taken, 1.0))
            of_names = scores.reshape(len(scores), len(self.names), -1)
            combined: Float64 = np.logaddexp.reduce(of_names, axis=2)
        combined[np.isnan(path_scores).any(axis=1)] = np.nan
        return combined

    def _path(self, name: str, article: str, end: str, opening: tuple[int, ...]) -> tuple[int, ...]:
        """Text tokens of a name, from the article to the field's end.

        Raises:
            C2TError: The tokens do not say the name, or do not end with the field.
        """
        words = " ".join((self.place.opening, *filter(None, (article, name))))
        if self.place.at_once:
            words = words.lstrip()
        ids = self._encoder.encode(f"{words}{end}")
        text = decode_text(self._tokenizer, ids, whole=False)
        if text.strip() != f"{words}{end}".strip():
            problem = f"the bundle's tokenizer cannot write {name!r}"
            raise C2TError(problem, hint="write it in plain letters")
        if ids[: len(opening)] != opening or len(ids) == len(opening):
            problem = f"the bundle's tokenizer joins the caption's opening with {name!r}"
            raise C2TError(problem, hint="give the name in other words")
        following = self._encoder.encode(f"{words}{end}{GOES_ON}") if end else ids
        if following[: len(ids)] != ids:
            problem = f"the bundle's tokenizer joins the end of {name!r} with what follows"
            raise C2TError(problem, hint="give the name in other words")
        return ids[len(opening) :]


def candidate_names(
    bundle: Bundle, names: Sequence[str], place: NamePlace | None = None
) -> CandidateNames:
    """Candidates in the text tokens of a bundle.

    Args:
        bundle: Has the tokenizer.
        names: See `CandidateNames`.
        place: Where they would stand; None: where the paper's template names the cell type.

    Raises:
        C2TError: See `CandidateNames`.
    """
    return CandidateNames(
        names,
        place or NamePlace(),
        encoder=bundle.text_encoder,
        tokenizer=bundle.tokenizer,
        end_tokens=bundle.manifest.generation.eos_token_ids,
    )


def _problem(name: str, seen: set[str]) -> str:
    if not name.strip():
        return "a candidate is empty"
    if name != name.strip() or not name.isprintable() or "  " in name:
        return f"the candidate {name!r} has spaces or signs that no caption has"
    if len(name) > NAME_LETTERS_MAX:
        return f"a candidate has {len(name)} letters; at most {NAME_LETTERS_MAX} are taken"
    return f"the candidate {name!r} is there twice" if name in seen else ""


def _parents(paths: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Each path that goes on where another ends, and the longest such other."""
    found = []
    order = sorted(range(len(paths)), key=lambda number: paths[number])
    open_paths: list[int] = []
    for number in order:
        path = paths[number]
        while open_paths and path[: len(paths[open_paths[-1]])] != paths[open_paths[-1]]:
            open_paths.pop()
        if open_paths:
            found.append((number, open_paths[-1]))
        open_paths.append(number)
    return found
