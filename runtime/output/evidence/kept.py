"""Evidence of cell after cell, kept, so that an interrupted run goes on from there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.explainer import EXPLAIN_CHUNK, Explainer
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.output.journal import Journal


class KeptEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a cell: the row of the file, and all that was found."""

    row: int
    evidence: CellEvidence


def explained(
    explainer: Explainer, reader: CellReader, journal: Journal[KeptEvidence] | None
) -> Iterator[CellEvidence]:
    """The evidence of all cells, that of an earlier run first.

    Args:
        explainer: Explains the others.
        reader: Reads the cells.
        journal: Has what the earlier run found, and keeps the others; None: nothing is kept.
    """
    start = 0
    if journal is not None:
        start = journal.done
        for kept in journal.records():
            yield kept.evidence
    if start == reader.n_cells:
        return
    rows = reader.cell_index[start:].tolist()
    chunks = reader.chunks(start, chunk_cells=EXPLAIN_CHUNK)
    for row, evidence in zip(rows, explainer.explain(chunks), strict=True):
        if journal is not None:
            journal.append(KeptEvidence(row=row, evidence=evidence))
        yield evidence
