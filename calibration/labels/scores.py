"""The accuracy that proposed label lines would give, and how much of it rests on the counts.

One decision: three figures, never one. A line that was assigned on the counts of the same cells
makes a text right because it says what most texts say. So beside the accuracy stand the one without
the cells of such labels, and the one where each half of the cells is judged by lines that were
assigned on the other half. The last shows chance fits alone: texts that are wrong in a systematic
way agree with each other in both halves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from c2t.calibration.labels.naming import Reason, Terms
from c2t.calibration.labels.proposal import LabelLine, propose_lines
from c2t.calibration.metrics.labels import same_label

Labels = Sequence[str | None]


@dataclass(frozen=True, kw_only=True)
class LabelProposal:
    """Proposed lines, and the accuracies under them; shares are of the labelled cells.

    Args:
        column: Column of the labels.
        ontology: File that synonyms are from; None without one.
        lines: One for each label.
        accuracy: With the lines that are marked for use.
        accuracy_as_is: With the labels as they are compared now.
        accuracy_named: Over the cells whose label is not renamed by assignment; None if that leaves
            no cell.
        accuracy_crossed: Each half of the cells under lines assigned on the other half.
        assigned_labels: How many labels are renamed by assignment.
        assigned_cells: Their share of the cells.
    """

    column: str
    ontology: str | None
    lines: tuple[LabelLine, ...]
    accuracy: float
    accuracy_as_is: float
    accuracy_named: float | None
    accuracy_crossed: float
    assigned_labels: int
    assigned_cells: float

    @property
    def sentence(self) -> str:
        """What the proposal would change, and what that rests on."""
        renamed = sum(line.renames for line in self.lines)
        text = (
            f"{renamed} of {len(self.lines)} labels in {self.column!r} may be named otherwise in "
            f"the texts: under a proposed map the accuracy would be {100 * self.accuracy:.1f} % "
            f"instead of {100 * self.accuracy_as_is:.1f} %"
        )
        if not self.assigned_labels:
            return f"{text}, by names alone"
        text += (
            f"; {self.assigned_labels} of the names ({100 * self.assigned_cells:.0f} % of the "
            "cells) are assigned on these very cells, which flatters: "
        )
        if self.accuracy_named is not None:
            text += f"{100 * self.accuracy_named:.1f} % without them, "
        return f"{text}{100 * self.accuracy_crossed:.1f} % when assigned on the other half"


def any_renamed(proposal: LabelProposal) -> bool:
    """Whether a proposal would change a figure."""
    return any(line.renames for line in proposal.lines)


def propose(
    own: Labels, said: Labels, *, column: str, terms: Terms | None = None
) -> LabelProposal | None:
    """Propose which names a data set's labels mean, and judge the texts under that.

    Args:
        own: [B] labels of the data set; None leaves a cell out.
        said: [B] names as the texts write them; None where a text names nothing.
        column: Where the labels are from.
        terms: Know synonyms; None without any.

    Returns:
        None if no cell has a label.

    Raises:
        EvaluationError: scipy is not installed.
    """
    lines = propose_lines(own, said, terms)
    if not lines:
        return None
    labelled = [cell for cell, label in enumerate(own) if label is not None]
    assigned = {line.label for line in lines if line.renames and line.reason is Reason.assignment}
    named = [cell for cell in labelled if own[cell] not in assigned]
    return LabelProposal(
        column=column,
        ontology=terms.ontology.name if terms and terms.ontology else None,
        lines=lines,
        accuracy=_accuracy(_renamed(own, lines), said, labelled),
        accuracy_as_is=_accuracy(own, said, labelled),
        accuracy_named=_accuracy(_renamed(own, lines), said, named) if named else None,
        accuracy_crossed=_crossed(own, said, labelled, terms),
        assigned_labels=len(assigned),
        assigned_cells=1 - len(named) / len(labelled),
    )


def _renamed(own: Labels, lines: Iterable[LabelLine]) -> list[str | None]:
    names: dict[str | None, str | None] = {line.label: line.name for line in lines if line.renames}
    return [names.get(label, label) for label in own]


def _accuracy(true: Labels, said: Labels, cells: Sequence[int]) -> float:
    return sum(same_label(true[cell], said[cell]) for cell in cells) / len(cells)


def _crossed(own: Labels, said: Labels, labelled: Sequence[int], terms: Terms | None) -> float:
    """Accuracy where the lines for each half of the cells come from the other half."""
    turn: Counter[str | None] = Counter()
    halves: tuple[list[int], list[int]] = ([], [])
    for cell in labelled:  # each label's cells in turns, so that both halves have all labels
        halves[turn[own[cell]] % 2].append(cell)
        turn[own[cell]] += 1
    right = 0.0
    for fitted, judged in (halves, halves[::-1]):
        if judged:
            lines = propose_lines([own[i] for i in fitted], [said[i] for i in fitted], terms)
            right += len(judged) * _accuracy(_renamed(own, lines), said, judged)
    return right / len(labelled)
