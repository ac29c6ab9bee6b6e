"""Reads the labels that texts name, field by field, by the rules of the bundle.

One decision: for cell types, a text that its rules can read in several ways is read as in the
paper: the words before the first comma. Names may hold commas ("CD4-positive, alpha-beta T cell"),
so a known name (a true label of the file, or a term of the ontology) goes before. Describing says
nothing of such a text; but a score must count it, and the paper's figures count it so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.fields.rules import FieldRules


class LabelReader:
    """Reads labels from texts.

    Args:
        cell_types: Known names of cell types.
        rules: How a caption is read.
    """

    def __init__(self, cell_types: Iterable[str] = (), rules: FieldRules = PAPER_RULES) -> None:
        known = {**rules.known}
        known["cell_type"] = (*known.get("cell_type", ()), *cell_types)
        self._reader = FieldReader(rules.with_known(known))
        self._as_in_paper = FieldReader(rules.ending_early())

    def read(self, texts: Sequence[str | None], field: str) -> list[str | None]:
        """The label of one field in each text; None where it names none."""
        readers = [self._reader]
        if field == "cell_type":
            readers.append(self._as_in_paper)
        return [_first(readers, text, field) for text in texts]


def _first(readers: Iterable[FieldReader], text: str | None, field: str) -> str | None:
    for reader in readers:
        found = reader.read(text).get(field)
        if found is not None:
            return found.words
    return None
