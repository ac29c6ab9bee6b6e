"""The fields of a caption by the rules of the paper, where only the text is at hand.

Describing reads by the rules of its bundle: `Description.fields`.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.fields.paper import NORMAL as NORMAL
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.reader import FieldReader

PAPER = FieldReader(PAPER_RULES, own=False)


@dataclass(frozen=True, kw_only=True)
class CaptionFields:
    """What a caption says; None where it says nothing of it, or can be read in several ways."""

    cell_type: str | None
    tissue: str | None
    disease: str | None  # "normal" for a donor without a disease
    sex: str | None
    age: str | None


def caption_fields(text: str, reader: FieldReader = PAPER) -> CaptionFields:
    """Read the fields of a caption; values as written, surrounding spaces removed."""
    found = reader.read(text)
    names = CaptionFields.__dataclass_fields__
    said = {name: field.words if (field := found.get(name)) else None for name in names}
    return CaptionFields(**said)
