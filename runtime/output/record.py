"""What is written for one cell, whatever the format of the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.describe.description import Description
from c2t.runtime.fields.reader import JOINED, Field, Fields

# Batches of other cells change the last bits of a probability: digits beyond these mean nothing.
DIGITS = 5
# Words and ontology ids of what the text says. Their names are those of CELLxGENE's schema, whose
# name for an age is the development stage.
FIELD_IDS = {
    "cell_type": "cell_type_ontology_term_id",
    "tissue": "tissue_ontology_term_id",
    "disease": "disease_ontology_term_id",
    "sex": "sex_ontology_term_id",
    "age": "development_stage_ontology_term_id",
}
FIELD_COLUMNS = (*(name for pair in FIELD_IDS.items() for name in pair), "pathways")
FIELDS = (
    *("cell", "text", "confidence", "cell_type_confidence", "genes_used", "error"),
    *FIELD_COLUMNS,
)
# Written as well where a threshold for unsure cells is in force.
UNSURE_FIELDS = ("cell_type_probability", "unsure")
UNSURE_KEY = "unsure"  # of what a run says about itself, where one is
# Written as well where cells are grouped.
GROUP_FIELDS = (
    "group",
    "group_cell_type",
    "group_cell_type_ontology_term_id",
    "group_share",
)
GROUPS_KEY = "groups"  # likewise
EMBEDDING_KEY = "embedding"  # likewise, where formats that can hold it write the embedding


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell's line of the output.

    Attributes:
        row: Its row in the file of cells, from 0. Ids may repeat, rows do not. Not written.
        cell: Its id.
        text: The description; None where there is an error.
        confidence: Mean probability of the text's tokens, 0 to 1.
        cell_type_confidence: The same over the words that name the cell type; None if none do.
        genes_used: Genes of the cell that the model saw.
        error: Why there is no description, else None.
        cell_type: The words of the text; None where it does not say it, or can be read in two ways.
            So are `tissue`, `disease`, `sex` and `age`.
        cell_type_ontology_term_id: Of the term with that name, or "unknown"; None where there are
            no words, or the bundle has no names of this field. So are the others.
        pathways: Those that the text names, joined by "; ".
        cell_type_probability: Probability that the cell type is right; None where the bundle states
            none, or no cell type is named.
        unsure: Whether the cell has no answer at or above the threshold; None without a threshold.
        embedding: Of the cell, float32, little-endian; None where it was not asked for, or the
            encoder did not take the cell.
    """

    row: int
    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None
    cell_type: str | None = None
    cell_type_ontology_term_id: str | None = None
    tissue: str | None = None
    tissue_ontology_term_id: str | None = None
    disease: str | None = None
    disease_ontology_term_id: str | None = None
    sex: str | None = None
    sex_ontology_term_id: str | None = None
    age: str | None = None
    development_stage_ontology_term_id: str | None = None
    pathways: str | None = None
    cell_type_probability: float | None = None
    unsure: bool | None = None
    embedding: bytes | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are written, in their order."""
        return FIELDS if self.unsure is None else (*FIELDS, *UNSURE_FIELDS)


def fields_of(about: Mapping[str, object]) -> tuple[str, ...]:
    """The fields that a file has.

    Args:
        about: What the run is; it says whether a threshold for unsure cells is in force.
    """
    fields = (*FIELDS, *UNSURE_FIELDS) if UNSURE_KEY in about else FIELDS
    return (*fields, *GROUP_FIELDS) if GROUPS_KEY in about else fields


@dataclass(frozen=True, kw_only=True)
class GroupedRecord(Record):
    """One cell's line of the output, with its group's answer.

    Attributes:
        group: The group's name; None for a cell in no group.
        group_cell_type: The group's consensus, "mixed", or None where none of it is described.
        group_cell_type_ontology_term_id: Of that; "unknown" where there is no consensus or no id.
        group_share: Share of the group's most frequent cell type.
    """

    group: str | None = None
    group_cell_type: str | None = None
    group_cell_type_ontology_term_id: str | None = None
    group_share: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are written, in their order."""
        return (*super().fields, *GROUP_FIELDS)


def make_record(row: int, described: Description, *, embedding: bool = False) -> Record:
    """Turn a description into what is written about it.

    Args:
        row: The cell's row.
        described: What the model says.
        embedding: Keep the embedding, too.
    """
    failed = bool(described.error)
    return Record(
        row=row,
        cell=str(described.cell),
        text=None if failed else described.text,
        confidence=None if failed else _rounded(described.confidence),
        cell_type_confidence=None if failed else _rounded(described.cell_type_confidence),
        genes_used=int(described.genes_used),
        error=described.error or None,
        cell_type_probability=None if failed else _rounded(described.cell_type_probability),
        unsure=described.unsure,
        embedding=_embedding_bytes(described) if embedding else None,
        **({} if failed else field_columns(described.fields)),
    )


def field_columns(fields: Fields) -> dict[str, str | None]:
    """The columns of what a text says, by name; those that it does not say are left out."""
    columns: dict[str, str | None] = {}
    for name, field in fields.items():
        if field is None:
            continue
        columns[name] = field.words
        if name in FIELD_IDS:
            columns[FIELD_IDS[name]] = field.ontology_id
    return columns


def record_fields(record: Record) -> Fields:
    """What a record says of the fields, without how sure of each the model was."""
    fields: dict[str, Field | None] = {}
    for name in (*FIELD_IDS, "pathways"):
        words = getattr(record, name)
        if words is None:
            continue
        term = getattr(record, FIELD_IDS[name]) if name in FIELD_IDS else None
        parts = (words,) if name in FIELD_IDS else tuple(words.split(JOINED))
        sure = record.cell_type_confidence if name == "cell_type" else None
        fields[name] = Field(words=words, ontology_id=term, confidence=sure, parts=parts)
    return fields


def embedding_array(record: Record) -> NDArray[np.float32] | None:
    """The embedding [H] of a record, if it has one."""
    return None if record.embedding is None else np.frombuffer(record.embedding, "<f4")


def _embedding_bytes(described: Description) -> bytes | None:
    vector = described.embedding
    if vector is None or not np.isfinite(vector).all():
        return None
    return np.asarray(vector, "<f4").tobytes()


def _rounded(value: float | None) -> float | None:
    """A plain number; JSON has no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), DIGITS)
