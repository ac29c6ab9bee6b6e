"""A record of each judged cell, and the choice of those to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from c2t.calibration.evaluate.comparison import compare_tokens
from c2t.calibration.evaluate.evaluation import CellRecord
from c2t.calibration.metrics.field_score import JudgedField
from c2t.calibration.metrics.true_labels import TrueLabels
from c2t.runtime.describe.caption import normalise_label
from c2t.runtime.describe.description import Description


def make_records(
    judged: Sequence[Description],
    labels: Sequence[TrueLabels],
    fields: dict[str, JudgedField],
    references: Sequence[str | None],
    *,
    against: Sequence[Description] | None = None,
    against_fields: dict[str, JudgedField] | None = None,
) -> list[CellRecord]:
    """One record for each of the B cells."""
    records = []
    for cell, description in enumerate(judged):
        other = None if against is None else against[cell]
        divergence = None
        if other is not None and description.text is not None and other.text is not None:
            divergence = compare_tokens(description.tokens, other.tokens)[2]
        near = {name: float(found.similarity[cell]) for name, found in fields.items()}
        records.append(
            CellRecord(
                cell=description.cell,
                text=description.text,
                error=description.error,
                true={true.field: true.names[cell] for true in labels},
                said={name: found.said[cell] for name, found in fields.items()},
                # JSON has no NaN.
                similarity={name: value for name, value in near.items() if np.isfinite(value)},
                reference=references[cell],
                against_text=None if other is None else other.text,
                against_said=None
                if against_fields is None
                else {name: found.said[cell] for name, found in against_fields.items()},
                first_divergence=divergence,
            )
        )
    return records


def choose_examples(records: Iterable[CellRecord], most: int) -> tuple[CellRecord, ...]:
    """Cells to show: those the two bundles judge differently first, then wrong, then right ones.

    Within each kind every true cell type has its turn, so that a common one does not fill the page.
    """
    seen: dict[tuple[int, str | None], int] = {}
    ranked = []
    for position, record in enumerate(records):
        kind = _kind(record)
        key = kind, record.true.get("cell_type")
        turn = seen[key] = seen.get(key, -1) + 1
        ranked.append((kind, turn, position, record))
    ranked.sort(key=lambda item: item[:3])
    # Half of the places at most for each kind, so that the page shows the good with the bad.
    room: Counter[int] = Counter()
    first, rest = [], []
    for item in ranked:
        room[item[0]] += 1
        if room[item[0]] <= (most + 1) // 2:
            first.append(item)
        else:
            rest.append(item)
    return tuple(item[3] for item in sorted((first + rest)[:most], key=lambda item: item[:3]))


def is_right(true: str | None, said: str | None) -> bool:
    """Whether a label is the true one, after normalisation."""
    return true is not None and said is not None and normalise_label(true) == normalise_label(said)


def _kind(record: CellRecord) -> int:
    """0: the two bundles differ in the cell type; 1: wrong; 2: other texts; 3: right and alike."""
    true, said = record.true.get("cell_type"), record.said.get("cell_type")
    if record.against_said is not None:
        other = record.against_said.get("cell_type")
        if is_right(true, said) != is_right(true, other):
            return 0
    if not is_right(true, said):
        return 1
    return 2 if record.first_divergence is not None else 3
