"""The fields of a caption, found by the patterns of the paper's template.

Source: Cell2Text (arXiv 2509.24840), caption template and evaluation: "This sample consists of a
{cell type}, {definition}. It originates from the {tissue} of a normal {sex} | a {sex} with
{disease} during {age group}."
"""

import re
from dataclasses import dataclass

CELL_TYPE = re.compile(r"\bconsists of (?:an? )?(?P<value>[^,.]+)", re.IGNORECASE)
TISSUE = re.compile(r"\boriginates from (?:the |an? )?(?P<value>.+?) of an? ", re.IGNORECASE)
# "of a normal female", "of a female with lupus during adulthood"
DONOR = re.compile(
    r"\boriginates from .+? of an? (?P<normal>normal )?(?P<sex>[^,.]+?)"
    r"(?: with (?P<disease>[^.]+?))?(?: during (?P<age>[^.]+))?\.",
    re.IGNORECASE,
)
NORMAL = "normal"


@dataclass(frozen=True, kw_only=True)
class CaptionFields:
    """What a caption says; None where the pattern is not found."""

    cell_type: str | None
    tissue: str | None
    disease: str | None  # "normal" for a donor without a disease
    sex: str | None
    age: str | None


def cell_type_span(text: str) -> tuple[int, int] | None:
    """Start and end (in characters) of the cell type in a caption, None if there is none."""
    match = CELL_TYPE.search(text)
    return match.span("value") if match else None


def caption_fields(text: str) -> CaptionFields:
    """Read the fields of a caption; values as written, surrounding spaces removed."""
    cell_type, tissue, donor = CELL_TYPE.search(text), TISSUE.search(text), DONOR.search(text)
    disease = None
    if donor:
        disease = NORMAL if donor["normal"] else donor["disease"]
    return CaptionFields(
        cell_type=_value(cell_type),
        tissue=_value(tissue),
        disease=disease.strip() if disease else None,
        sex=donor["sex"].strip() if donor else None,
        age=donor["age"].strip() if donor and donor["age"] else None,
    )


def _value(match: re.Match[str] | None) -> str | None:
    return match["value"].strip() if match else None
