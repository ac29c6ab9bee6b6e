"""The names that a bundle's training captions say, and what that makes doubtful about labels.

One decision: a label that captions never name is compared all the same, but the model has not
learned to say it ("CD14+ Mono" is improbable although the cell is one). So it is said, with the
nearest name that captions have, which is never taken instead. What captions name is known from the
bundle's rules for fields, and from its phrase table, which says how they go on after their opening.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME
from c2t.runtime.bundle.text_encoder import open_encoder
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.fields.rules import FieldName, FieldRules
from c2t.runtime.generation.candidate_names import (
    NAME_LETTERS_MAX,
    CandidateNames,
    NamePlace,
    candidate_names,
)
from c2t.runtime.generation.phrase_table import PHRASES_NAME, PhraseTable, load_phrase_table
from c2t.runtime.system.errors import BundleError

CELL_TYPE: FieldName = "cell_type"
ARTICLES = ("a", "an")
KNOWN_MAX = 5000  # names that are looked for
TOKENS_MAX = 64  # of a name
VISITS_MAX = 50_000  # states of the phrase table: a stranger's may go on for ever
SHOWN = 5
LEAST_LIKENESS = 0.45  # of a name that is worth a hint
LEAST_SHORT = 3  # letters of a word that is short for another
_NEGATIONS = frozenset({"non", "not", "negative", "anti"})


def cell_type_place(rules: FieldRules) -> NamePlace:
    """Where captions that are read by these rules name the cell type.

    Raises:
        BundleError: They do not, or not with their first words.
    """
    sentence = rules.sentences[0] if rules.sentences else None
    step = sentence.steps[0] if sentence else None
    if sentence is None or step is None or step.field != CELL_TYPE:
        problem = "the captions of this bundle do not begin with the name of a cell type"
        raise BundleError(problem, hint="labels are read there; its rules in fields.json say so")
    if sentence.ends_with_text and sentence.begins == ("",) and step.after in ((), ("",)):
        return NamePlace(opening="", articles=("",), ends=("", ".", "\n"), at_once=True)
    words = tuple(dict.fromkeys(literal.strip() for literal in step.after)) or ("",)
    # "the" and nothing are ways to read a text, not ways in which captions are written.
    articles = tuple(word for word in words if word in ARTICLES) or words
    ends = dict.fromkeys((*(step.may_end or (end[:1] for end in step.ends)), "."))
    return NamePlace(opening=sentence.begins[0].strip(), articles=articles, ends=tuple(ends))


class CaptionNames:
    """The names that training captions say at a place.

    Args:
        table: The bundle's phrase table; None: it has none.
        bundle: Has the tokenizer.
        place: Where captions name it.
        known: Names that are known to be said.

    Raises:
        BundleError: See `caption_names`.
    """

    def __init__(
        self,
        table: PhraseTable | None,
        bundle: Bundle,
        place: NamePlace,
        known: Sequence[str] = (),
    ) -> None:
        self._known = tuple(known)
        self._after_opening: int | None = None
        self._table = table
        self._tokenizer = bundle.tokenizer
        self._place = place
        if table is None:
            return
        opening = open_encoder(bundle.file("tokenizer.json")).encode(place.opening)
        state = self._walk(table.start, opening)
        if state is None:
            raise _other_opening(bundle, place)
        self._after_opening = state

    def says(self, names: CandidateNames) -> list[bool]:
        """For each name, whether captions say it."""
        each = len(names.trie.paths) // len(names)
        return [
            name in self._known  # letter by letter: the model reads "B cells" otherwise
            or any(map(self._is_said, names.trie.paths[number * each : (number + 1) * each]))
            for number, name in enumerate(names.names)
        ]

    def all(self) -> list[str]:
        """Names that captions say; of the phrase table at most `KNOWN_MAX`, to a field's end."""
        if self._known or self._after_opening is None:
            return list(self._known)
        found: dict[str, None] = {}
        articles = tuple(f" {article} " for article in self._place.articles if article)
        ends = tuple(end[:1] for end in self._place.ends)
        for text in self._texts(self._after_opening, ends):
            for article in articles:
                if text.startswith(article):
                    found[text.removeprefix(article)] = None
            if len(found) >= KNOWN_MAX:
                break
        return list(found)

    def _is_said(self, path: Sequence[int]) -> bool:
        start = self._after_opening
        return start is not None and self._walk(start, path) is not None

    def _texts(self, state: int, ends: tuple[str, ...]) -> Iterator[str]:
        """What can follow a state, up to what ends a field."""
        table = self._table
        assert table is not None
        open_paths: list[tuple[int, tuple[int, ...]]] = [(state, ())]
        for _ in range(VISITS_MAX):
            if not open_paths:
                return
            state, path = open_paths.pop()
            first, end = table.first_edge[state : state + 2]
            for edge in range(first, end):
                longer = (*path, int(table.token[edge]))
                text = decode_text(self._tokenizer, longer, whole=False)
                stops = [at for mark in ends if (at := text.find(mark)) >= 0]
                if stops:
                    yield text[: min(stops)]
                elif len(longer) < TOKENS_MAX and len(text) < NAME_LETTERS_MAX:
                    open_paths.append((int(table.target[edge]), longer))

    def _walk(self, state: int, tokens: Sequence[int]) -> int | None:
        """The state after some tokens, None where captions do not go on so."""
        table = self._table
        assert table is not None
        for token in tokens:
            first, end = table.first_edge[state : state + 2]
            edges = (table.token[first:end] == token).nonzero()[0]
            if not len(edges):
                return None
            state = int(table.target[first + edges[0]])
        return state


def caption_names(
    bundle: Bundle, place: NamePlace, known: Sequence[str] = ()
) -> CaptionNames | None:
    """What the bundle knows of its training captions; None if nothing.

    Args:
        bundle: The bundle.
        place: Where captions name what is looked for.
        known: Names that its rules for fields list.

    Raises:
        BundleError: Captions do not begin with the place's opening: what is read behind it would
            mean nothing.
    """
    files = bundle.manifest.files
    table = None
    if PHRASES_NAME in files:
        vocabulary = bundle.manifest.decoder.vocabulary_size
        table = load_phrase_table(bundle.file(PHRASES_NAME), vocabulary)
        table = table if table.states > 1 else None
    if table is None and GOLDEN_NAME in files and not bundle.manifest.origin.random_weights:
        texts = [cell.text for cell in bundle.golden.cells if cell.text]
        if texts and not any(text.startswith(place.opening) for text in texts):
            raise _other_opening(bundle, place)
    return CaptionNames(table, bundle, place, known) if table is not None or known else None


def _other_opening(bundle: Bundle, place: NamePlace) -> BundleError:
    problem = f"the captions of {bundle.path} do not begin with {place.opening!r}"
    hint = "labels are read behind these words; this model says cell types in another way"
    return BundleError(problem, hint=hint)


def doubts(names: CandidateNames, known: CaptionNames | None) -> list[str]:
    """What the user should know about labels, a sentence each."""
    if known is None:
        return []
    strange = [name for name, said in zip(names.names, known.says(names), strict=True) if not said]
    if not strange:
        return []
    every = {name.casefold(): name for name in known.all()}
    shown = "; ".join(_with_nearest(name, every) for name in strange[:SHOWN])
    more = f"; and {len(strange) - SHOWN:,} more" if len(strange) > SHOWN else ""
    one = len(names) == 1
    what = (
        "the label is not among the names that the training captions say, so it"
        if one
        else f"{len(strange):,} of {len(names):,} labels are not among the names that the training "
        "captions say, so they"
    )
    return [f"{what} may score badly: {shown}{more}"]


def label_doubts(bundle: Bundle, rules: FieldRules, label: str) -> list[str]:
    """What the user should know about one name of a cell type; see `doubts`."""
    try:
        place = cell_type_place(rules)
        known = caption_names(bundle, place, rules.known.get(CELL_TYPE, ()))
    except BundleError:
        return []
    return doubts(candidate_names(bundle, [label], place), known)


def _with_nearest(name: str, every: dict[str, str]) -> str:
    near = [folded for folded in every if _may_mean(name, folded)]
    nearest = difflib.get_close_matches(name.casefold(), near, n=1, cutoff=LEAST_LIKENESS)
    return f"{name!r} (captions say {every[nearest[0]]!r})" if nearest else f"{name!r}"


def _may_mean(label: str, name: str) -> bool:
    """Whether a name is a label's, or one with fewer or more modifiers: letters alone mislead.

    "T cell" is near "B cell" by its letters. So the last word beyond "cell" must be the same, and
    so must all words of the shorter of the two; "Mono" is short for "monocyte".
    """
    mine, theirs = _words(label), _words(name)
    if not mine or not theirs or not _same_word(mine[-1], theirs[-1]):
        return False
    if _NEGATIONS.intersection(mine) != _NEGATIONS.intersection(theirs):
        return False
    fewer, more = sorted((mine, theirs), key=len)
    return all(any(_same_word(word, other) for other in more) for word in fewer)


def _words(name: str) -> list[str]:
    """The words that tell types apart: "CD16- B cells" are cd16, negative and b."""
    signs = re.sub(r"-(?=\s|$)", " negative ", name.casefold().replace("+", " positive "))
    return [word for word in re.findall(r"\w+", signs) if word not in ("cell", "cells")]


def _same_word(one: str, other: str) -> bool:
    short, long = sorted((one.removesuffix("s"), other.removesuffix("s")), key=len)
    begins = len(short) >= LEAST_SHORT and short.isalpha() and long.startswith(short)
    return short == long or begins
