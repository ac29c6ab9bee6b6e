"""A record of each judged cell, and the choice of the cells to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from c2t.calibration.evaluate.comparison import compare_tokens
from c2t.calibration.metrics.field_score import JudgedField
from c2t.calibration.metrics.labels import TrueLabels, same_label
from c2t.calibration.results.evaluation import CellRecord
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
        near = {name: float(field.similarity[cell]) for name, field in fields.items()}
        records.append(
            CellRecord(
                cell=description.cell,
                text=description.text,
                error=description.error,
                true={true.field: true.names[cell] for true in labels},
                said={name: field.said[cell] for name, field in fields.items()},
                # JSON has no NaN.
                similarity={name: value for name, value in near.items() if np.isfinite(value)},
                reference=references[cell],
                against_text=None if other is None else other.text,
                against_said=None
                if against_fields is None
                else {name: field.said[cell] for name, field in against_fields.items()},
                first_divergence=divergence,
                cell_type_confidence=description.cell_type_confidence,
                cell_type_probability=description.cell_type_probability,
                unsure=description.unsure,
            )
        )
    return records


def choose_examples(records: Iterable[CellRecord], most: int) -> tuple[CellRecord, ...]:
    """Cells to show: first those where only one bundle is right, then wrong, then right ones.

    Within each kind the true cell types take turns, so that a common one does not fill the page.
    """
    seen: dict[tuple[int, str | None], int] = {}
    ranked = []
    for position, record in enumerate(records):
        kind = _kind(record)
        key = kind, record.true.get("cell_type")
        turn = seen[key] = seen.get(key, -1) + 1
        ranked.append((kind, turn, position, record))
    ranked.sort(key=lambda item: item[:3])
    # Each kind gets at most half of the places, so that the page shows good and bad cells.
    room: Counter[int] = Counter()
    first, rest = [], []
    for item in ranked:
        room[item[0]] += 1
        if room[item[0]] <= (most + 1) // 2:
            first.append(item)
        else:
            rest.append(item)
    return tuple(item[3] for item in sorted((first + rest)[:most], key=lambda item: item[:3]))


def _kind(record: CellRecord) -> int:
    """0: only one bundle is right; 1: wrong; 2: right, texts differ; 3: right, texts are equal."""
    true, said = record.true.get("cell_type"), record.said.get("cell_type")
    if record.against_said is not None:
        other = record.against_said.get("cell_type")
        if same_label(true, said) != same_label(true, other):
            return 0
    if not same_label(true, said):
        return 1
    return 2 if record.first_divergence is not None else 3
