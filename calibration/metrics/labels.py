"""True labels of cells, and how labels are compared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from c2t.runtime.labels.normalise import normalise_label


@dataclass(frozen=True, kw_only=True)
class TrueLabels:
    """The true labels of one field.

    Args:
        field: "cell_type", "tissue", "disease", "sex" or "age".
        column: Column of the file, or "the label map".
        names: [B] as captions write them; None where the label is unknown.
        terms: Name that captions use -> id of its term, where the ontology has another name.
        own: [B] as the file writes them, before a label map.
        renamed: Labels of the file that a label map names.
        assigned: Those of them whose names were assigned on counts.
    """

    field: str
    column: str
    names: tuple[str | None, ...]
    terms: dict[str, str] = dataclasses.field(default_factory=dict)
    own: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()


def same_label(true: str | None, said: str | None) -> bool:
    """Whether a text names the true label, after normalisation; False where one is missing."""
    return true is not None and said is not None and normalise_label(true) == normalise_label(said)
