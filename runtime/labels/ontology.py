"""An ontology for judging labels: terms, their names, and their parents.

One decision: a label is looked up in steps, the surest first: id, label, label without "cell",
exact synonym, synonym without "cell". A name that two terms share at one step finds neither at that
step, because a silent guess would change a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from c2t.runtime.labels.normalise import normalise_label


@dataclass(frozen=True, kw_only=True)
class Term:
    """One class of an ontology.

    Args:
        id: Such as "CL:0000084".
        label: Its name.
        synonyms: Its exact synonyms.
        parents: Ids of its is_a parents.
        obsolete: Whether it was withdrawn. Then only its id finds it, or its replacement.
        replaced_by: Id of the replacement of an obsolete term.
    """

    id: str
    label: str
    synonyms: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    obsolete: bool = False
    replaced_by: str | None = None


_NamesOf = Callable[[Term], list[str]]


class Ontology:
    """Terms of one ontology, numbered in their order.

    Args:
        name: File name, with the version, for reports.
        terms: All terms. Parents that are not among them are ignored.

    Attributes:
        edges: (parent, child) numbers, without repeats.
    """

    def __init__(self, name: str, terms: Iterable[Term]) -> None:
        self.name = name
        self.terms = tuple(terms)
        self._by_id = {term.id: number for number, term in enumerate(self.terms)}
        self.edges = sorted(
            {
                (self._by_id[parent], child)
                for child, term in enumerate(self.terms)
                for parent in term.parents
                if parent in self._by_id and parent != term.id
            }
        )
        # The surest kind of name first.
        self._names = [
            self._index(lambda term: [_folded(term.label)]),
            self._index(lambda term: [normalise_label(term.label)]),
            self._index(lambda term: [_folded(name) for name in term.synonyms]),
            self._index(lambda term: [normalise_label(name) for name in term.synonyms]),
        ]

    def __len__(self) -> int:
        return len(self.terms)

    def find(self, label: str) -> int | None:
        """Number of the term that a label names; None if there is none, or more than one."""
        by_id = self._by_id.get(label.strip())
        if by_id is not None:
            return self._current(by_id)
        folded, normalised = _folded(label), normalise_label(label)
        for names, key in zip(self._names, (folded, normalised, folded, normalised), strict=True):
            number = names.get(key)
            if number is not None:
                return number
        return None

    def label(self, text: str) -> str:
        """The label of the term whose id `text` is; `text` itself if it is no id."""
        if text.strip() not in self._by_id:
            return text
        number = self.find(text)
        return text if number is None else self.terms[number].label

    def _current(self, number: int) -> int | None:
        """The term, or what replaces an obsolete one; None without a replacement."""
        for _ in range(len(self.terms)):
            term = self.terms[number]
            if not term.obsolete:
                return number
            following = self._by_id.get(term.replaced_by or "")
            if following is None:
                return None
            number = following
        return None  # replaced in a circle

    def _index(self, names_of: _NamesOf) -> dict[str, int]:
        """Name -> term, for the names that only one term has."""
        index: dict[str, int | None] = {}
        for name, number in _names(self.terms, names_of):
            index[name] = number if index.get(name, number) == number else None
        return {name: number for name, number in index.items() if number is not None and name}


def _names(terms: tuple[Term, ...], names_of: _NamesOf) -> Iterator[tuple[str, int]]:
    for number, term in enumerate(terms):
        if not term.obsolete:
            for name in names_of(term):
                yield name, number


def _folded(label: str) -> str:
    return " ".join(label.lower().split())
