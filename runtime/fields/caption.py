"""A caption cut into the sentences that its rules know, and the fields that these say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from c2t.runtime.fields.rules import FieldRules, Sentence
from c2t.runtime.fields.sentence import OCCURRENCES_MAX, Body, Said

_MARKS = re.compile(r"[().]")
_NEAR = 32  # characters around a full stop that are looked at
TEXT_MAX = 1 << 16  # characters of a text that is looked at; captions have some 500
_BLANKS = str.maketrans("\t\n\r\v\f\u00a0", "      ")

Begin = tuple[int, int, int]  # where a sentence begins, where its beginning ends, which it is
# The number of a sentence in the rules, and its body -> what it says, see `read_sentence`.
Read = Callable[[int, Body], dict[str, Said | None] | None]


def sentences(
    text: str, rules: FieldRules, *, whole: bool = True
) -> Iterator[tuple[int, Body, int]]:
    """The sentences of a caption that its rules know, in the order of the text.

    Args:
        text: The caption.
        rules: What it is read by.
        whole: Whether its writer came to an end. Else what touches the end of the text may be half
            of something, also before a full stop ("2.").

    Yields:
        Number of the sentence in the rules, its body, and where in the text the body begins.
    """
    text = text[:TEXT_MAX].translate(_BLANKS)
    lower = text.lower()
    if len(lower) != len(text):  # a few letters of other scripts: lower case has more of them
        lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
    begins = sorted(_begins(lower, rules.sentences))
    for (_, at, which), following in zip(begins, [*begins, None][1:], strict=True):
        until = len(text) if following is None else following[0]
        part = text[at:until].rstrip()
        end = sentence_end(part, rules.abbreviations)
        if end is None:
            at_last = not (whole and rules.sentences[which].ends_with_text)
        else:
            at_last = not whole and end == len(part) - 1
        body = Body(
            text=part,
            lower=lower[at : at + len(part)],
            end=len(part) if end is None else end,
            cut=following is None and at_last,
        )
        yield which, body, at


def read_caption(
    text: str, rules: FieldRules, read: Read, *, whole: bool = True
) -> dict[str, list[Said]]:
    """Every value that a caption says, by field; fields of which it says none are left out.

    A sentence that comes twice must say the same, unless its rules let it repeat.
    """
    said: dict[str, list[Said]] = {}
    once: dict[int, list[dict[str, Said | None]]] = {}
    for which, body, at in sentences(text, rules, whole=whole):
        found = read(which, body)
        if found is None:
            continue
        placed = {name: _moved(value, at) for name, value in found.items()}
        if not rules.sentences[which].repeats:
            once.setdefault(which, []).append(placed)
            continue
        for name, value in placed.items():
            if value is not None:
                said.setdefault(name, []).append(value)
    for readings in once.values():
        for name in readings[0]:
            values = [reading[name] for reading in readings]
            first = values[0]
            if first is not None and all(v and v.words == first.words for v in values):
                said.setdefault(name, []).append(first)
    return said


def _moved(said: Said | None, by: int) -> Said | None:
    return said and Said(said.words, said.start + by, said.end + by)


def _begins(lower: str, known: Iterable[Sentence]) -> Iterator[Begin]:
    for which, sentence in enumerate(known):
        for literal in sentence.begins:
            places = list(_places(lower, literal.lower()))
            for place in places:
                yield place, place + len(literal), which
            if places:
                break


def _places(lower: str, literal: str) -> Iterator[int]:
    """Where a literal stands as whole words; an empty one is the text's beginning."""
    if not literal:
        yield 0
        return
    place = lower.find(literal)
    for _ in range(OCCURRENCES_MAX):
        if place < 0:
            return
        if place == 0 or not lower[place - 1].isalnum():
            yield place
        place = lower.find(literal, place + 1)


def sentence_end(text: str, abbreviations: Iterable[str] = ()) -> int | None:
    """Where the full stop of the first sentence is: before an upper-case letter, or at last.

    One in brackets, behind an initial or behind an abbreviation ends no sentence.
    """
    short_words = {word.lower() for word in abbreviations}
    depth = 0
    for mark in _MARKS.finditer(text):
        place = mark.start()
        if text[place] != ".":
            depth = max(0, depth + (1 if text[place] == "(" else -1))
        elif depth:
            continue
        elif not (following := text[place + 1 : place + 1 + _NEAR]).strip():
            return place
        elif following[0].isspace() and following.lstrip()[0].isupper():
            word = text[max(0, place - _NEAR) : place].rpartition(" ")[2].lstrip("(")
            initial = len(word) == 1 and word.isupper() and word not in "AI"
            if not (initial or word.lower() in short_words):
                return place
    return None
