"""What an evaluation's figures owe to a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from c2t.calibration.metrics.labels import TrueLabels, same_label


@dataclass(frozen=True, kw_only=True)
class LabelMapNote:
    """The figures of the cell type under a label map.

    Args:
        file: Name of the map's file.
        renamed: Labels that it names.
        renamed_cells: Share of the labelled cells that have one of them.
        assigned: Labels whose names were assigned on counts of texts.
        assigned_cells: Their share of the labelled cells.
        accuracy_named: Accuracy over the other cells; None if there are none, or all are others.
    """

    file: str
    renamed: int
    renamed_cells: float
    assigned: int
    assigned_cells: float
    accuracy_named: float | None

    @property
    def sentence(self) -> str:
        """Which figures rest on the map."""
        text = (
            f"the figures of the cell type rest on the label map {self.file}: it names "
            f"{self.renamed} labels, {100 * self.renamed_cells:.0f} % of the cells"
        )
        if not self.assigned:
            return text
        text += (
            f"; {self.assigned} names ({100 * self.assigned_cells:.0f} % of the cells) were "
            "assigned on counts of texts, which flatters where the texts were these"
        )
        if self.accuracy_named is None:
            return text
        return f"{text}: the accuracy is {100 * self.accuracy_named:.1f} % without those cells"


def note_map(true: TrueLabels, said: Sequence[str | None], file: str) -> LabelMapNote | None:
    """What the cell type's figures owe to a map.

    Args:
        true: Labels of B cells.
        said: [B] names as the texts write them; None where a text names nothing.
        file: Name of the map's file.

    Returns:
        None if no label was renamed.
    """
    labelled = [cell for cell, name in enumerate(true.names) if name is not None]
    if not true.renamed or not labelled or not true.own:
        return None
    renamed, assigned = set(true.renamed), set(true.assigned)
    mapped = sum(true.own[cell] in renamed for cell in labelled)
    named = [cell for cell in labelled if true.own[cell] not in assigned]
    right = sum(same_label(true.names[cell], said[cell]) for cell in named)
    return LabelMapNote(
        file=file,
        renamed=len(renamed),
        renamed_cells=mapped / len(labelled),
        assigned=len(assigned),
        assigned_cells=1 - len(named) / len(labelled),
        accuracy_named=right / len(named) if 0 < len(named) < len(labelled) else None,
    )
