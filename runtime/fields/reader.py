"""Reads the fields of captions: by a bundle's rules, with the ids of a table of terms.

One decision: what was read of a sentence is kept, and of a whole caption. Captions of many cells
are few sentences, and those of a trained model often few captions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from c2t.runtime.fields.caption import read_caption
from c2t.runtime.fields.names import plain_name
from c2t.runtime.fields.rules import FieldRules
from c2t.runtime.fields.sentence import Body, Said, read_sentence

UNKNOWN = "unknown"  # the id of words that no term has, where a table knows the field
JOINED = "; "  # between the pathways of a caption
KEPT_MAX = 1 << 14  # sentences; some 10 MB
KEPT_CAPTIONS_MAX = 1 << 10  # some 4 MB
KEPT_CHARACTERS_MAX = 1 << 11  # of a caption that is kept
_NO_ID = "-"  # in the table of what is kept
_NOTHING: dict[str, Said | None] = {}  # likewise


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a caption says of one field.

    Args:
        words: As written; several pathways are joined by "; ".
        ontology_id: Id of the term with this name, such as "CL:0000236"; "unknown" where the
            bundle's table has none; None where it has no table for this field.
        confidence: Mean probability of the tokens that hold these words; None where only the text
            is known.
        parts: Each value, where a field can have several; else the words alone.
        spans: Start and end of each of the values in the text, in characters.
    """

    words: str
    ontology_id: str | None = None
    confidence: float | None = None
    parts: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


Fields = Mapping[str, Field | None]  # by name; None: the caption does not say it
Confidence = Callable[[Sequence[tuple[int, int]]], float | None]  # of spans of the text


class Terms(Protocol):
    """Names of ontology terms."""

    @property
    def fields(self) -> frozenset[str]:
        """The fields that have names."""
        ...

    def id_of(self, field: str, name: str) -> str | None:
        """The id of a name in a field; "unknown"; None where the field has no names."""
        ...

    def knows(self, field: str, name: str) -> bool:
        """Whether a term of the field has this name."""
        ...


class FieldReader:
    """Reads captions by rules; threads may share it.

    Args:
        rules: How a caption is read.
        terms: Where names get ids from; None: nowhere.
        own: Whether the rules are the bundle's own, not the paper's.
    """

    def __init__(self, rules: FieldRules, terms: Terms | None = None, *, own: bool = True) -> None:
        self.rules = rules
        self.terms = terms
        self.own = own
        self.names = rules.fields
        self._known: dict[str, frozenset[str]] = {
            field: frozenset(map(plain_name, names)) for field, names in rules.known.items()
        }
        self._kept: dict[tuple[int, str, int, bool], dict[str, Said | None] | None] = {}
        self._kept_captions: dict[tuple[str, bool], dict[str, Field]] = {}
        self._ids: dict[tuple[str, str], str | None] = {}

    def read(
        self, text: str | None, confidence: Confidence | None = None, *, whole: bool = True
    ) -> Fields:
        """The fields of a caption.

        Args:
            text: The caption; None has no fields.
            confidence: Says how sure the model was of stretches of it.
            whole: Whether its writer came to an end, see `c2t.runtime.fields.caption.sentences`.

        Returns:
            Every field of the rules by name; None where the caption does not say it, or can be
            read in several ways.
        """
        fields: dict[str, Field | None] = dict.fromkeys(self.names)
        for name, field in (self._caption(text, whole=whole) if text else {}).items():
            fields[name] = Field(
                words=field.words,
                ontology_id=field.ontology_id,
                confidence=confidence(field.spans) if confidence else None,
                parts=field.parts,
                spans=field.spans,
            )
        return fields

    def _caption(self, text: str, *, whole: bool) -> dict[str, Field]:
        """The fields that a caption says, without a confidence."""
        key = (text, whole)
        kept = self._kept_captions.get(key)
        if kept is not None:  # another thread may empty the table at any time
            return kept
        fields = {}
        for name, values in self._said(text, whole=whole).items():
            words = JOINED.join(value.words for value in values)
            fields[name] = Field(
                words=words,
                ontology_id=self.id_of(name, words),
                parts=tuple(value.words for value in values),
                spans=tuple((value.start, value.end) for value in values),
            )
        if len(text) <= KEPT_CHARACTERS_MAX:
            if len(self._kept_captions) >= KEPT_CAPTIONS_MAX:
                self._kept_captions.clear()
            self._kept_captions[key] = fields
        return fields

    def id_of(self, field: str, name: str) -> str | None:
        """See `Terms.id_of`."""
        if self.terms is None:
            return None
        key = (field, name)
        kept = self._ids.get(key, _NO_ID)
        if kept != _NO_ID:
            return kept
        found = self.terms.id_of(field, name)
        if len(self._ids) >= KEPT_MAX:
            self._ids.clear()
        self._ids[key] = found
        return found

    def knows(self, field: str, name: str) -> bool:
        """Whether captions of the training set, or the table of terms, have this name."""
        plain = plain_name(name)
        if plain in self._known.get(field, ()):
            return True
        return self.terms is not None and self.terms.knows(field, name)

    def _said(self, text: str, *, whole: bool = True) -> dict[str, list[Said]]:
        return read_caption(text, self.rules, self._sentence, whole=whole)

    def _sentence(self, which: int, body: Body) -> dict[str, Said | None] | None:
        key = (which, body.text, body.end, body.cut)
        kept = self._kept.get(key, _NOTHING)
        if kept is not _NOTHING:  # another thread may empty the table at any time
            return kept
        said = read_sentence(self.rules.sentences[which], body, self.knows)
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[key] = said
        return said
