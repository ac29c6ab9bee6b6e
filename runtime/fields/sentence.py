"""Reads one sentence by its rules: all ways in which it can be read, then the one that holds.

One decision: where a sentence can be read in several ways, and neither a known name nor the
template decides, the fields in question are not said. A column with a hole is honest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from c2t.runtime.fields.names import NAME_MAX
from c2t.runtime.fields.rules import Sentence, Step

READINGS_MAX = 256  # more ways than that, and the sentence says nothing
STRANGE_WORDS_MAX = 3  # "young adult woman"
TRIALS_MAX = 1 << 14  # steps that are tried at a place; a caption takes some dozens
OCCURRENCES_MAX = 64  # of one literal
Known = Callable[[str, str], bool]  # field and name -> whether it is a known name


@dataclass(frozen=True)
class Said:
    """A value that a sentence says of a field, and where: from `start` to `end`, in characters."""

    words: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Body:
    """A sentence without its beginning.

    Args:
        text: From the beginning's end, to where the next sentence begins.
        lower: The same in lower case, of the same length.
        end: Where the sentence's full stop is; the text's length if there is none.
        cut: The text stops here, without a full stop: what touches its end is not whole.
        abbreviations: See `FieldRules`.
    """

    text: str
    lower: str
    end: int
    cut: bool


@dataclass(frozen=True)
class _Reading:
    """One way to read a sentence.

    Args:
        values: A value of each field it finds.
        taken: Optional steps in it.
        follows: Whether it follows the rules, as far as can be told: not with a whole phrase where
            a word of a closed list is expected.
    """

    values: tuple[tuple[str, Said | None], ...] = ()
    taken: int = 0
    follows: bool = True

    def and_says(self, field: str, said: Said | None, *, taken: bool) -> _Reading:
        return replace(self, values=(*self.values, (field, said)), taken=self.taken + taken)

    def says(self, field: str) -> Said | None:
        """The value of a field; None where it says none, or two."""
        found = {said for name, said in self.values if name == field}
        return found.pop() if len(found) == 1 else None


def read_sentence(sentence: Sentence, body: Body, known: Known) -> dict[str, Said | None] | None:
    """The fields that a sentence says; None for one that does not follow its rules.

    A field is None where the sentence says nothing of it, or can be read in several ways.
    """
    for strict in (True, False):
        found = _readings(sentence.steps, body, known, strict)
        try:
            readings = list(islice(found, READINGS_MAX + 1))
        except _TooManyTrialsError:
            return None
        if len(readings) > READINGS_MAX:
            return None
        if readings:
            fields = {step.field for step in sentence.steps if step.field}
            best = _best(readings, sentence, known)
            return _agreed(best, fields) if any(reading.follows for reading in best) else None
    return None


class _TooManyTrialsError(Exception):
    """Rules and text go together in more ways than are worth a look."""


def _best(readings: list[_Reading], sentence: Sentence, known: Known) -> list[_Reading]:
    """The readings that no other beats: by known names first, then by steps of the template."""
    if len(readings) == 1:
        return readings
    for field in dict.fromkeys(step.field for step in sentence.steps if step.is_free):
        sure = [
            r for r in readings if (said := r.says(str(field))) and known(str(field), said.words)
        ]
        readings = sure or readings
    most = max(reading.taken for reading in readings)
    return [reading for reading in readings if reading.taken == most]


def _agreed(readings: list[_Reading], fields: Iterable[str]) -> dict[str, Said | None]:
    said = {field: {reading.says(field) for reading in readings} for field in fields}
    return {field: values.pop() if len(values) == 1 else None for field, values in said.items()}


def _readings(
    steps: tuple[Step, ...], body: Body, known: Known, strict: bool
) -> Iterator[_Reading]:
    """Every way in which the steps fit the whole sentence.

    Raises:
        _TooManyTrialsError: The search takes too long, as rules of a stranger can make it.
    """
    trials = 0

    def follow(place: int, at: int, so_far: _Reading) -> Iterator[_Reading]:
        nonlocal trials
        trials += 1
        if trials > TRIALS_MAX:
            raise _TooManyTrialsError
        if place == len(steps):
            if at == body.end:
                yield so_far
            return
        step = steps[place]
        begin = _after(step, body, at)
        if begin is not None:
            yield from value(place, begin, so_far)
        if step.optional:
            yield from follow(place + 1, at, so_far)

    def value(place: int, begin: int, so_far: _Reading) -> Iterator[_Reading]:
        step = steps[place]
        if step.field is None:
            yield from follow(place + 1, begin, so_far)
        elif step.means is not None:
            start = begin - _length_of_after(step, body, begin)
            said = _said(body, start, begin, words=step.means)
            yield from follow(
                place + 1, begin, so_far.and_says(step.field, said, taken=step.optional)
            )
        elif step.only is not None and strict:
            word = _listed(step.only, body, begin)
            if word is not None:
                said = _said(body, begin, begin + len(word), words=step.only[word])
                reading = so_far.and_says(step.field, said, taken=step.optional)
                yield from follow(place + 1, begin + len(word), reading)
        elif step.ends or step.may_end:
            yield so_far.and_says(step.field, _before_ends(step, body, begin, known), taken=False)
        else:
            for end in _free_ends(place, begin):
                # Strange words where a closed list is expected say nothing.
                said = None if step.only is not None else _said(body, begin, end)
                reading = so_far.and_says(step.field, said, taken=step.optional)
                words = len(body.text[begin:end].split())
                if step.only is not None and words > STRANGE_WORDS_MAX:
                    reading = replace(reading, follows=False)
                yield from follow(place + 1, end, reading)

    def _free_ends(place: int, begin: int) -> Iterator[int]:
        """Where a free text can end: before the literal of a step that can follow, or at last."""
        for step in steps[place + 1 :]:
            for literal in step.after:
                yield from _occurrences(body.lower, literal.lower(), begin + 1, body.end)
            if not step.optional:
                return
        if body.end > begin:
            yield body.end

    yield from follow(0, 0, _Reading())


def _after(step: Step, body: Body, at: int) -> int | None:
    """Where the literal of a step ends, if it stands at `at`."""
    if not step.after:
        return at
    for literal in step.after:
        if body.lower.startswith(literal.lower(), at) and at + len(literal) <= body.end:
            return at + len(literal)
    return None


def _length_of_after(step: Step, body: Body, end: int) -> int:
    """Length of the literal that ends at `end`."""
    fits = (len(text) for text in step.after if body.lower.endswith(text.lower(), 0, end))
    return max(fits, default=0)


def _listed(words: Iterable[str], body: Body, at: int) -> str | None:
    """The longest word of a list that stands at `at`, as a whole word."""
    fits = (
        word
        for word in words
        if body.lower.startswith(word.lower(), at)
        and not body.lower[at + len(word) :][:1].isalnum()
    )
    return max(fits, key=len, default=None)


def _said(body: Body, start: int, end: int, *, words: str | None = "") -> Said | None:
    """The value between two places; None for one that is empty, too long, or perhaps not whole.

    Args:
        words: Its words where they are not those of the text; None: it says nothing.
    """
    if words is None or (body.cut and end >= body.end):
        return None
    text = body.text[start:end]
    start += len(text) - len(text.lstrip())
    end -= len(text) - len(text.rstrip())
    words = words or body.text[start:end]
    return Said(words, start, end) if start < end and len(words) <= NAME_MAX else None


def _before_ends(step: Step, body: Body, begin: int, known: Known) -> Said | None:
    """The value before a sure end, or the longest known name before a possible one.

    Where both are found and differ, a shorter known name may be the beginning of an unknown one.
    """
    sure = min(
        (
            at
            for text in step.ends
            for at in _occurrences(body.lower, text.lower(), begin, body.end, 1)
        ),
        default=body.end,
    )
    possible = sorted(
        at
        for text in step.may_end
        for at in _occurrences(body.lower, text.lower(), begin, body.end)
    )
    before = [at for at in possible if at < sure]
    named = [
        said
        for at in (*possible, body.end)
        if (said := _said(body, begin, at)) and known(str(step.field), said.words)
    ]
    longest = max(named, key=lambda said: said.end, default=None)
    by_end = _said(body, begin, sure)
    if by_end and before and any(text.lower() in by_end.words.lower() for text in step.never):
        by_end = None
    if body.cut and sure == body.end:
        return None
    if longest is not None and longest.end >= sure:
        return longest
    if sure == body.end and before:
        # "a B cell, lymphocyte with antibodies": nothing says what the comma is.
        return longest
    if longest is not None and by_end is not None and longest != by_end:
        return None
    return by_end or longest


def _occurrences(
    text: str, part: str, begin: int, end: int, most: int = OCCURRENCES_MAX
) -> Iterator[int]:
    for _ in range(most):
        begin = text.find(part, begin, end)
        if begin < 0:
            return
        yield begin
        begin += 1
