"""Evidence as rows of a table and as objects of JSON: of a cell, or of a group.

One decision: a row is one gene, and names its cell and the words. A cell or group without genes has
one row, so that none is missing without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.groups import GroupEvidence

Row = dict[str, Any]
Evidence = CellEvidence | GroupEvidence

_TEXT, _NUMBER, _COUNT, _TRUTH = "text", "number", "count", "truth"
GENE_COLUMNS = {
    "gene_id": _TEXT,
    "symbol": _TEXT,
    "rank": _COUNT,
    "effect": _NUMBER,
    "probability_effect": _NUMBER,
    "shift": _NUMBER,
    "evidence": _NUMBER,
    "direction": _TEXT,
    "control": _TRUTH,
}
# Column and what it holds.
CELL_COLUMNS = {
    "cell": _TEXT,
    "field": _TEXT,
    "words": _TEXT,
    "written": _TEXT,
    "probability": _NUMBER,
    **GENE_COLUMNS,
    "noise": _NUMBER,
    "runs": _COUNT,
    "error": _TEXT,
}
GROUP_GENE_COLUMNS = {
    "gene_id": _TEXT,
    "symbol": _TEXT,
    "cells": _COUNT,
    "share_for": _NUMBER,
    "share_against": _NUMBER,
    "median_evidence": _NUMBER,
    "median_probability_effect": _NUMBER,
}
GROUP_COLUMNS = {
    "group": _TEXT,
    "size": _COUNT,
    "sampled": _COUNT,
    "failed": _COUNT,
    "words": _TEXT,
    "saying": _COUNT,
    **GROUP_GENE_COLUMNS,
}


def as_object(evidence: Evidence, top: int | None) -> Row:
    """Evidence with its genes in a list.

    Args:
        evidence: Of a cell or a group.
        top: At most so many genes; None: all.
    """
    whole = asdict(evidence)
    whole["genes"] = list(whole["genes"][:top])
    return whole


def as_rows(evidence: Evidence, top: int | None) -> Iterator[Row]:
    """A row for each gene; see `as_object`."""
    columns = CELL_COLUMNS if isinstance(evidence, CellEvidence) else GROUP_COLUMNS
    whole = {name: getattr(evidence, name, None) for name in columns}
    genes = evidence.genes[:top]
    for gene in genes:
        yield {**whole, **asdict(gene)}
    if not genes:
        yield whole
