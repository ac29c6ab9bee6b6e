"""The results of a run: a row of log probabilities a cell, and what is written of each.

One decision: log probabilities are kept in float32, 4 bytes for each label of each cell. A
temperature that is fitted on them afterwards makes probabilities of all rows, and an atlas of a
million cells with 30 labels takes 120 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.annotate.labels import Labels
from c2t.runtime.describe.labelled_cell import LabelledCell, among_labels
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.machine import look_at_machine
from c2t.runtime.system.text_tables import gigabytes

# Batches of other cells change the last bits of a probability: digits beyond these mean nothing.
DIGITS = 5


@dataclass(eq=False)
class Results:
    """Cells in their order, filled by `add`.

    Args:
        ids: Names of the cells.
        rows: Their rows in the file [B], increasing.
        labels: What was compared.
        temperature: See `LabelledCell`.
        engine: What computed them.

    Raises:
        C2TError: More than the machine has memory for.
    """

    ids: Sequence[str]
    rows: NDArray[np.int64]
    labels: Labels
    temperature: float = 1.0
    engine: str = ""
    log_probabilities: NDArray[np.float32] = field(init=False)  # [B,N], NaN for an error
    genes_used: NDArray[np.int64] = field(init=False)
    errors: dict[int, str] = field(default_factory=dict)
    done: int = 0

    def __post_init__(self) -> None:
        shape = len(self.ids), len(self.labels.labels)
        need, memory = 4 * shape[0] * shape[1], look_at_machine().memory_bytes
        if memory and need > memory // 2:
            problem = (
                f"{shape[0]:,} cells with {shape[1]:,} labels need {gigabytes(need)} of memory; "
                f"this machine has {gigabytes(memory)}"
            )
            raise C2TError(problem, hint="give fewer labels, or some of the cells with --cells")
        self.log_probabilities = np.full(shape, np.nan, dtype=np.float32)
        self.genes_used = np.zeros(shape[0], dtype=np.int64)

    def add(self, cell: LabelledCell) -> None:
        """Take the next cell."""
        if cell.log_probabilities is None:
            self.errors[self.done] = str(cell.error)
        else:
            self.log_probabilities[self.done] = cell.log_probabilities
        self.genes_used[self.done] = cell.genes_used
        self.done += 1

    def common_error(self) -> tuple[str | None, int]:
        """The most frequent error, and how many cells have it."""
        counted = Counter(self.errors.values()).most_common(1)
        return counted[0] if counted else (None, 0)

    def masses(self) -> list[float]:
        """The mass of each cell's labels; NaN for an error."""
        with np.errstate(under="ignore"):
            masses: list[float] = np.exp(self.log_probabilities).sum(axis=1).tolist()
        return masses

    def cells(self) -> Iterator[LabelledCell]:
        """The cells again."""
        names = self.labels.names
        for place, name in enumerate(self.ids):
            failed = place in self.errors
            yield LabelledCell(
                cell=name,
                labels=names,
                log_probabilities=None
                if failed
                else self.log_probabilities[place].astype(np.float64),
                temperature=self.temperature,
                genes_used=int(self.genes_used[place]),
                error=self.errors.get(place),
            )

    def probabilities(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First place and probabilities [b,N] of some cells at a time; NaN for an error."""
        size = max(1, (16 << 20) // max(1, 8 * len(self.labels.labels)))
        for first in range(0, len(self.ids), size):
            part = self.log_probabilities[first : first + size].astype(np.float64)
            bad = np.isnan(part).any(axis=1)
            part[bad] = 0.0
            shares = among_labels(part, self.temperature).astype(np.float32)
            shares[bad] = np.nan
            yield first, shares


def columns(labels: Labels, top: int) -> tuple[str, ...]:
    """The columns of a table."""
    more = range(2, min(top, len(labels.labels)) + 1)
    return (
        *("cell", "label"),
        *(("id",) if labels.ids else ()),
        *("probability", "mass"),
        *(name for number in more for name in (f"label_{number}", f"probability_{number}")),
        *("genes_used", "error"),
    )


def flat_record(cell: LabelledCell, labels: Labels, top: int) -> dict[str, Any]:
    """One cell's row of a table, by column."""
    values: dict[str, Any] = dict.fromkeys(columns(labels, top))
    values |= _first(cell, labels)
    for number, place in enumerate(cell.top(top)[1:], start=2):
        values[f"label_{number}"] = cell.labels[place]
        values[f"probability_{number}"] = _share(cell, place)
    return values | {"genes_used": cell.genes_used, "error": cell.error}


def nested_record(cell: LabelledCell, labels: Labels, top: int) -> dict[str, Any]:
    """One cell's line of JSON."""
    best: list[dict[str, Any]] = [
        {"label": cell.labels[place]}
        | ({"id": labels.labels[place].id} if labels.ids else {})
        | {"probability": _share(cell, place)}
        for place in cell.top(top)
    ]
    return _first(cell, labels) | {
        "top": best,
        "genes_used": cell.genes_used,
        "error": cell.error,
    }


def _first(cell: LabelledCell, labels: Labels) -> dict[str, Any]:
    values: dict[str, Any] = {"cell": cell.cell, "label": cell.label}
    if labels.ids:
        values["id"] = None if cell.best is None else labels.labels[cell.best].id
    values["probability"] = None if cell.best is None else _share(cell, cell.best)
    # Not rounded to a number of decimals: a small mass says how far off the labels are.
    values["mass"] = None if cell.mass is None else float(f"{cell.mass:.{DIGITS}g}")
    return values


def _share(cell: LabelledCell, place: int) -> float | None:
    if cell.probabilities is None:
        return None
    return round(float(cell.probabilities[place]), DIGITS)
