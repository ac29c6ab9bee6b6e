"""What is written for one cell, whatever the format of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from c2t.runtime.describe.description import Description

# Batches of other cells change the last bits of a probability: digits beyond these mean nothing.
DIGITS = 5
FIELDS = ("cell", "text", "confidence", "cell_type_confidence", "genes_used", "error")


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
    """

    row: int
    cell: str
    text: str | None
    confidence: float | None
    cell_type_confidence: float | None
    genes_used: int
    error: str | None


def make_record(row: int, described: Description) -> Record:
    """Turn a description into what is written about it."""
    failed = bool(described.error)
    return Record(
        row=row,
        cell=str(described.cell),
        text=None if failed else described.text,
        confidence=None if failed else _rounded(described.confidence),
        cell_type_confidence=None if failed else _rounded(described.cell_type_confidence),
        genes_used=int(described.genes_used),
        error=described.error or None,
    )


def _rounded(value: float | None) -> float | None:
    """A plain number; JSON has no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), DIGITS)
