"""Reads the labels that texts name, field by field.

One decision: a known name with a comma wins. Names of cell types may hold commas ("CD4-positive,
alpha-beta T cell"), and a caption has a comma after the name. So if the text continues with a known
name (a true label of the file, or a term of the ontology), the longest such name is the label.
Otherwise the words before the first comma are, as in the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2t.runtime.describe.caption import caption_fields, cell_type_span

_ENDS = frozenset(",.;")


class LabelReader:
    """Reads labels from texts.

    Args:
        cell_types: Known names of cell types.
    """

    def __init__(self, cell_types: Iterable[str] = ()) -> None:
        self._longer: dict[str, list[str]] = {}
        for name in {name.lower() for name in cell_types if "," in name}:
            self._longer.setdefault(name.partition(",")[0].strip(), []).append(name)
        for names in self._longer.values():
            names.sort(key=len, reverse=True)

    def read(self, texts: Sequence[str | None], field: str) -> list[str | None]:
        """The label of one field in each text; None where it names none."""
        if field == "cell_type":
            return [None if text is None else self._cell_type(text) for text in texts]
        return [None if text is None else getattr(caption_fields(text), field) for text in texts]

    def _cell_type(self, text: str) -> str | None:
        span = cell_type_span(text)
        if span is None:
            return None
        said = text[span[0] : span[1]].strip()
        rest = text[span[0] :].lstrip()
        for name in self._longer.get(said.lower(), ()):
            after = rest[len(name) : len(name) + 1]
            if rest.lower().startswith(name) and (not after or after in _ENDS):
                return rest[: len(name)]
        return said or None
