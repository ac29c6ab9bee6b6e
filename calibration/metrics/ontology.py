"""An ontology as far as judging labels needs it: terms, their names, and who is whose parent.

One decision: a label finds its term by the surest way that works: id, label, label without "cell",
exact synonym, synonym without "cell". A name that two terms share at one step finds neither there,
because a silent guess would be worth a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from c2t.runtime.describe.caption import normalise_label


@dataclass(frozen=True, kw_only=True)
class Term:
    """One class of an ontology.

    Args:
        id: Such as "CL:0000084".
        label: Its name.
        synonyms: Other names that mean exactly the same.
        parents: Ids of its is_a parents.
        obsolete: Withdrawn; it keeps its id, which `replaced_by` may pass on, and loses its names.
        replaced_by: The id to use instead.
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
        name: Where it is from, with its version, for reports.
        terms: All terms. Parents that are not among them are left out.

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
        # From the surest kind of name to the least sure one.
        self._names = [
            self._index(lambda term: [_folded(term.label)]),
            self._index(lambda term: [normalise_label(term.label)]),
            self._index(lambda term: [_folded(name) for name in term.synonyms]),
            self._index(lambda term: [normalise_label(name) for name in term.synonyms]),
        ]

    def __len__(self) -> int:
        return len(self.terms)

    def find(self, label: str) -> int | None:
        """The number of the term that a label means, None if there is none or more than one."""
        found = self._by_id.get(label.strip())
        if found is not None:
            return self._current(found)
        folded, normalised = _folded(label), normalise_label(label)
        for names, key in zip(self._names, (folded, normalised, folded, normalised), strict=True):
            number = names.get(key)
            if number is not None:
                return number
        return None

    def label(self, text: str) -> str:
        """A label as the ontology writes it if `text` is the id of a term, else `text` itself."""
        if text.strip() not in self._by_id:
            return text
        number = self.find(text)
        return text if number is None else self.terms[number].label

    def _current(self, number: int) -> int | None:
        """Follow an obsolete term to the one that replaces it."""
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
        found: dict[str, int | None] = {}
        for name, number in _names(self.terms, names_of):
            found[name] = number if found.get(name, number) == number else None
        return {name: number for name, number in found.items() if number is not None and name}


def _names(terms: tuple[Term, ...], names_of: _NamesOf) -> Iterator[tuple[str, int]]:
    for number, term in enumerate(terms):
        if not term.obsolete:
            for name in names_of(term):
                yield name, number


def _folded(label: str) -> str:
    return " ".join(label.lower().split())
