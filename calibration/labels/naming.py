"""What the names alone say: whether a label of a data set means one of the names of the texts.

One decision: no list of ours. A label is taken for a name if it has the same words, if the ontology
says so, or by short forms that the Cell Ontology itself writes in its exact synonyms; each such
short form names the term that shows it. What two names fit is left to the counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from c2t.runtime.labels.label_map import ASSIGNED
from c2t.runtime.labels.normalise import normalise_label
from c2t.runtime.labels.ontology import Ontology


class Reason(StrEnum):
    """Why a label is taken for a name, the surest first."""

    same = "the same name"
    words = "the same words"
    ontology = "a synonym in the ontology"
    short_form = "a short form"
    assignment = ASSIGNED
    none = "no name"


# Short form, what it stands for, and a term of the Cell Ontology with it in an exact synonym.
SHORT_FORMS = (
    ("nk", "natural killer", "CL:0000623, `NK cell`"),
    ("dc", "dendritic", "CL:0002526, `CD14+ dermal DC`"),
    ("treg", "regulatory t", "CL:0000815, `Treg`"),
)
POSITIVE = "CL:0002526, `CD14+ dermal DC` for `CD14-positive dermal dendritic cell`"
UNKNOWN_ID = "unknown"  # what a bundle's table says of a name that it does not have
Key = TypeVar("Key", bound=Hashable)
_MARKER = re.compile(r"(?<=[a-z0-9])\+(?=\s|$|,)")
_WITHOUT = re.compile(r"(?<=[a-z0-9])-(?=\s|$|[/,])")
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """A name that a label means, and how that is known.

    Args:
        name: As the texts write it.
        reason: Why.
        evidence: The same in words.
    """

    name: str
    reason: Reason
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Where names get ids of terms from.

    Args:
        ontology: Asked first, and for what is a kind of what; None without one.
        id_of: A bundle's own table: the id of a name, None or "unknown" where it has none.
        place: What that table is called in messages.
    """

    ontology: Ontology | None = None
    id_of: Callable[[str], str | None] | None = None
    place: str = "the bundle's terms"

    def find(self, name: str) -> tuple[str, str] | None:
        """Id of the term that a name names, and where that is from; None if there is none."""
        number = None if self.ontology is None else self.ontology.find(name)
        if self.ontology is not None and number is not None:
            return self.ontology.terms[number].id, self.ontology.name
        own = None if self.id_of is None else self.id_of(name)
        return None if own is None or own == UNKNOWN_ID else (own, self.place)


class Namer:
    """Finds the names of labels among those that the texts say.

    Args:
        names: What the texts say; of names that are equal when normalised the first counts.
        terms: Where names get ids from.
    """

    def __init__(self, names: Iterable[str], terms: Terms) -> None:
        self._terms = terms
        self._by_name: dict[str, str] = {}
        for name in names:
            self._by_name.setdefault(normalise_label(name), name)
        every = list(self._by_name.values())
        self._by_words = _alone((words_key(name), name) for name in every)
        known = [(terms.find(name), name) for name in every]
        self._by_term = _alone((found[0], name) for found, name in known if found is not None)
        self._parents: dict[int, list[int]] = {}
        for parent, child in [] if terms.ontology is None else terms.ontology.edges:
            self._parents.setdefault(child, []).append(parent)

    def find(self, label: str) -> Naming | None:
        """The name that a label means; None if names alone do not say."""
        same = self._by_name.get(normalise_label(label))
        if same is not None:
            return Naming(name=same, reason=Reason.same, evidence="the texts say the same name")
        words = words_key(label)
        alike = self._by_words.get(words) if words else None
        if alike is not None:
            evidence = "the same words but for plural and punctuation"
            return Naming(name=alike, reason=Reason.words, evidence=evidence)
        return self._by_ontology(label) or self._by_short_forms(label)

    def term(self, label: str) -> str | None:
        """Id of the term that a label or name names; None if there is none."""
        found = self._terms.find(label)
        return None if found is None else found[0]

    def is_kind_of(self, term: str, other: str) -> bool:
        """Whether a term lies below another one in the ontology."""
        ontology = self._terms.ontology
        start = None if ontology is None else ontology.find(term)
        goal = None if ontology is None else ontology.find(other)
        if ontology is None or start is None or goal is None:
            return False
        above, found = [start], {start}
        while above:
            for parent in self._parents.get(above.pop(), ()):
                if parent == goal:
                    return True
                if parent not in found:
                    found.add(parent)
                    above.append(parent)
        return False

    def _by_ontology(self, label: str) -> Naming | None:
        found = self._terms.find(label)
        if found is None or found[0] not in self._by_term:
            return None
        evidence = f"both name the term {found[0]} in {found[1]}"
        return Naming(name=self._by_term[found[0]], reason=Reason.ontology, evidence=evidence)

    def _by_short_forms(self, label: str) -> Naming | None:
        written, sources = _spelled_out(label)
        if not sources:
            return None
        name = self._by_name.get(normalise_label(written)) or self._by_words.get(words_key(written))
        if name is None:
            found = self._by_ontology(written)
            name = None if found is None else found.name
        if name is None:
            return None
        evidence = f"short for `{written}`, as in the Cell Ontology ({'; '.join(sources)})"
        return Naming(name=name, reason=Reason.short_form, evidence=evidence)


def words_key(label: str) -> tuple[str, ...]:
    """The words of a label in lower case, without "cell" and the plural's s; in their order.

    A plus or minus behind a marker stays, for it changes the meaning.
    """
    kept = _WITHOUT.sub(" minus ", label.lower().replace("+", " plus "))
    words = (word.removesuffix("s") if len(word) > 3 else word for word in _WORDS.findall(kept))
    return tuple(word for word in words if word != "cell")


def _spelled_out(label: str) -> tuple[str, list[str]]:
    """A label with its short forms written out, and the sources of those."""
    written, sources = " ".join(label.split()).lower(), []
    marked = _MARKER.sub("-positive", written)
    if marked != written:
        written, sources = marked, [POSITIVE]
    for short, long, source in SHORT_FORMS:
        whole = re.sub(rf"(?<![\w-]){short}s?(?![\w-])", long, written)
        if whole != written:
            written = whole
            sources.append(source)
    return written, sources


def _alone(named: Iterable[tuple[Key, str]]) -> dict[Key, str]:
    """Key -> its name, for the keys that one name alone has."""
    found: dict[Key, list[str]] = {}
    for key, name in named:
        found.setdefault(key, []).append(name)
    return {key: names[0] for key, names in found.items() if len(names) == 1}
