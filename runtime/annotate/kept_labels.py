"""Labels compared for cell after cell, and kept, so that an interrupted run goes on from there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from c2t.runtime.annotate.comparers import Comparer
from c2t.runtime.annotate.results import Results
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.output.journal import Journal
from c2t.runtime.system.progress import progress_bar


class KeptLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a cell.

    Args:
        row: Of the file of cells.
        logs: Log probabilities of the labels [N], as float32 in little-endian bytes; None with an
            error.
        genes_used: See `LabelledCell`.
        error: Likewise.
    """

    row: int
    logs: bytes | None
    genes_used: int
    error: str | None


def compare_cells(
    comparer: Comparer,
    reader: CellReader,
    results: Results,
    journal: Journal[KeptLabels] | None,
    *,
    passed: Callable[[LabelledCell], None],
    report: Callable[[str], None],
) -> None:
    """Compare the labels for all cells, those that no earlier run has done, with a bar.

    Args:
        comparer: Compares them.
        reader: Reads the cells.
        results: Takes all cells, those of the earlier run first.
        journal: Has those, and keeps the others; None: nothing is kept.
        passed: Given each cell that is done now.
        report: Told how many there are already.

    Raises:
        OutputError: The journal is damaged, or the disk full.
        EngineError: No engine works.
    """
    for kept in journal.records() if journal is not None else ():
        results.add(_restored(kept, results))
    start, total = results.done, reader.n_cells
    if start:
        report(f"going on after {start:,} of {total:,} cells that an earlier run annotated")
    rows = reader.cell_index[start:].tolist()
    with progress_bar("annotating", total, done=start, unit="cells") as step:
        cells = comparer.annotate(reader.chunks(start)) if rows else ()
        for row, cell in zip(rows, cells, strict=True):
            results.add(cell)
            if journal is not None:
                journal.append(_kept(row, cell))
            passed(cell)
            step(1)


def _kept(row: int, cell: LabelledCell) -> KeptLabels:
    logs = cell.log_probabilities
    return KeptLabels(
        row=row,
        logs=None if logs is None else np.asarray(logs, dtype="<f4").tobytes(),
        genes_used=cell.genes_used,
        error=cell.error,
    )


def _restored(kept: KeptLabels, results: Results) -> LabelledCell:
    logs = None if kept.logs is None else np.frombuffer(kept.logs, dtype="<f4").astype(np.float64)
    return LabelledCell(
        cell=results.ids[results.done],
        labels=results.labels.names,
        log_probabilities=logs,
        temperature=results.temperature,
        genes_used=kept.genes_used,
        error=kept.error,
    )
