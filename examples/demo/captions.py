"""Captions of labelled cells, after the template of the Cell2Text paper.

One decision: what a data set does not record (sex, age) is left out of the sentence, and a person
of unrecorded sex is called a "donor"; nothing is guessed. Wording lives in `caption_table.json` and
`pathways.json`; this file only joins it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class CaptionPart:
    """A stretch of a caption and how much its tokens count in the loss."""

    text: str
    decision: str  # "template", "cell_type", "definition", "donor" or "pathway"


@dataclass(frozen=True, kw_only=True)
class Donor:
    """What one sentence says about origin; None is left out."""

    tissue: str
    disease: str  # "normal" for none
    sex: str | None
    age: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionTable:
    """Wording of cell types and pathways, and how the labels of each file map to it.

    Attributes:
        definitions: Cell type -> definition in our own words.
        pathways: Hallmark gene set -> description in our own words.
        sets: Stem of a file's name -> its entry of `caption_table.json`.
        terms: Field -> name -> id of its ontology term, for names that have one.
    """

    definitions: dict[str, str]
    pathways: dict[str, str]
    sets: dict[str, dict[str, Any]]
    terms: dict[str, dict[str, str]]


def read_caption_table(folder: Path = HERE) -> CaptionTable:
    """Read `caption_table.json` and `pathways.json`, and check that they fit together."""
    table = json.loads((folder / "caption_table.json").read_text(encoding="utf-8"))
    pathways = json.loads((folder / "pathways.json").read_text(encoding="utf-8"))
    definitions = {name: entry["definition"] for name, entry in table["cell_types"].items()}
    for name in definitions:
        if "," in name or "." in name:
            problem = f"cell type {name!r}: a comma or full stop would end it early"
            raise ValueError(problem)
    for stem, entry in table["sets"].items():
        unknown = set(entry["labels"].values()) - definitions.keys()
        if unknown:
            problem = f"{stem}: cell types without a definition: {sorted(unknown)}"
            raise ValueError(problem)
    terms = {
        "cell_type": {name: entry["ontology_id"] for name, entry in table["cell_types"].items()},
        "tissue": table["tissues"],
        "disease": table["diseases"],
        "age": table["ages"],
    }
    return CaptionTable(definitions=definitions, pathways=pathways, sets=table["sets"], terms=terms)


def article(noun: str) -> str:
    """The indefinite article by the first letter, which is right for every word in the table."""
    return "an" if noun[0] in "aeiouAEIOU" else "a"


def caption_parts(
    table: CaptionTable, cell_type: str, donor: Donor, pathways: tuple[str, str]
) -> list[CaptionPart]:
    """The caption of a cell, split where the importance of its tokens changes.

    Args:
        table: The wording.
        cell_type: A key of `table.definitions`.
        donor: Origin of the cell.
        pathways: The two most active gene sets, most active first.

    Returns:
        Parts whose texts, joined, are the caption.
    """
    normal = donor.disease == "normal"
    who = donor.sex or "donor"
    state = f" of {article('normal' if normal else who)} " + ("normal " if normal else "") + who
    if not normal:
        state += f" with {donor.disease}"
    if donor.age:
        state += f" during {donor.age}"
    first, second = (table.pathways[name] for name in pathways)
    return [
        CaptionPart(text="This sample consists of", decision="template"),
        # The article depends on the cell type, so it is the first token of that decision.
        CaptionPart(text=f" {article(cell_type)} {cell_type}", decision="cell_type"),
        CaptionPart(text=f", {table.definitions[cell_type]}.", decision="definition"),
        CaptionPart(text=" It originates from the", decision="template"),
        CaptionPart(text=f" {donor.tissue}{state}.", decision="donor"),
        CaptionPart(text=" This cell is associated with", decision="template"),
        CaptionPart(text=f" {first}.", decision="pathway"),
        CaptionPart(text=" Additionally, it involves", decision="template"),
        CaptionPart(text=f" {second}.", decision="pathway"),
    ]


def caption_text(parts: list[CaptionPart]) -> str:
    """The caption as one string."""
    return "".join(part.text for part in parts)


def all_donors(entry: dict[str, Any]) -> Iterator[Donor]:
    """Every donor sentence that a set's entry can produce."""

    def values(field: Any) -> list[str | None]:
        return [*field["values"].values()] if isinstance(field, dict) else [field]

    for sex in values(entry["sex"]):
        for age in values(entry["age"]):
            yield Donor(tissue=entry["tissue"], disease=entry["disease"], sex=sex, age=age)


def possible_captions(table: CaptionTable) -> Iterator[list[CaptionPart]]:
    """Captions that together contain every word and every pair of neighbouring parts.

    All cell types of each set with all donors, and all ordered pairs of pathways.
    """
    names = sorted(table.pathways)
    for entry in table.sets.values():
        for donor in dict.fromkeys(all_donors(entry)):
            for cell_type in dict.fromkeys(entry["labels"].values()):
                for pair in pairwise((*names, names[0])):
                    yield caption_parts(table, cell_type, donor, pair)
    entry = next(iter(table.sets.values()))
    donor = next(all_donors(entry))
    cell_type = next(iter(entry["labels"].values()))
    for pair in permutations(names, 2):
        yield caption_parts(table, cell_type, donor, (pair[0], pair[1]))
