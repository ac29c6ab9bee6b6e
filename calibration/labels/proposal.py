"""Proposes which name of the texts each label of a data set means.

One decision: names come before counts. What the names alone say is never changed by what a model
wrote. Only the labels that are left get names by the best one-to-one assignment on the counts of
label and name, and such a line says so: figures under it flatter the model, which it was fitted to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.calibration.labels.naming import Namer, Naming, Reason, Terms
from c2t.runtime.labels.normalise import normalise_label
from c2t.runtime.system.errors import EvaluationError

# An assigned name is proposed for use if the texts of more than this share of the cells say it.
LEAST_SHARE = 0.5

Counts = Counter[str]  # normalised name -> cells; a text that names nothing does not count


@dataclass(frozen=True, kw_only=True)
class LabelLine:
    """One label of the data set, and what it is proposed to mean.

    Args:
        label: As the file has it.
        name: As the texts write it; None where nothing is proposed.
        term: Id of the name's term in the ontology; None if it has none.
        reason: Why.
        evidence: The same in words, with counts.
        cells: Cells with the label.
        share: Of these, how many texts say the name.
        second: The name that most of the other texts say; None if there is none.
        second_share: How many do.
        use: Whether the proposal is sure enough to be used unless somebody says otherwise.
    """

    label: str
    name: str | None
    term: str | None
    reason: Reason
    evidence: str
    cells: int
    share: float
    second: str | None
    second_share: float
    use: bool

    @property
    def renames(self) -> bool:
        """Whether the line is used, and changes what the label is compared as."""
        return (
            self.use
            and self.name is not None
            and normalise_label(self.name) != normalise_label(self.label)
        )


def propose_lines(
    own: Sequence[str | None], said: Sequence[str | None], terms: Terms | None = None
) -> tuple[LabelLine, ...]:
    """Propose a line for each label, in the order of the labels' names.

    Args:
        own: [B] labels of the data set; None leaves a cell out.
        said: [B] names as the texts write them; None where a text names nothing.
        terms: Know synonyms; None without any.

    Raises:
        EvaluationError: scipy, which assigns, is not installed.
    """
    written = _spellings(said)
    cells = Counter(label for label in own if label is not None)
    counts: dict[str, Counts] = {label: Counter() for label in sorted(cells)}
    for label, name in zip(own, said, strict=True):
        if label is not None and name is not None:
            counts[label][normalise_label(name)] += 1
    namer = Namer(written.values(), terms or Terms())
    named = {label: namer.find(label) for label in counts}
    taken = {normalise_label(found.name) for found in named.values() if found is not None}
    left = [label for label, found in named.items() if found is None]
    free = [name for name in written if name not in taken]
    best = dict(zip(left, _assign([counts[label] for label in left], free), strict=True))
    lines = []
    for label, row in counts.items():
        found, use = named[label], True
        if found is None:
            found, use = _by_counts(label, cells[label], row, best[label], namer, written)
        key = None if found is None else normalise_label(found.name)
        others = [(count, name) for name, count in row.items() if name != key]
        count, second = max(others, default=(0, None), key=lambda other: other[0])
        lines.append(
            LabelLine(
                label=label,
                name=None if found is None else found.name,
                term=None if found is None else namer.term(found.name),
                reason=Reason.none if found is None else found.reason,
                evidence="no text of its cells names a cell type"
                if found is None
                else found.evidence,
                cells=cells[label],
                share=(row[key] if key else 0) / cells[label],
                second=None if second is None else written[second],
                second_share=count / cells[label],
                use=use and found is not None,
            )
        )
    return tuple(lines)


def _spellings(said: Sequence[str | None]) -> dict[str, str]:
    """Normalised name -> its commonest spelling, the commonest name first."""
    spellings: dict[str, str] = {}
    for name, _ in Counter(name for name in said if name is not None).most_common():
        spellings.setdefault(normalise_label(name), name)
    return spellings


def _assign(rows: Sequence[Counts], free: Sequence[str]) -> list[str | None]:
    """The one-to-one assignment of names to labels that most cells agree with.

    Args:
        rows: Counts of each label.
        free: Names that can be assigned, normalised.

    Returns:
        The name of each label; None where none is left that any of its cells is said to be.
    """
    if not rows or not free:
        return [None] * len(rows)
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        problem = "to assign names to labels needs scipy, which is not installed"
        raise EvaluationError(problem, hint='run `pip install "c2t[evaluate]"`') from error
    matrix = np.array([[row[name] for name in free] for row in rows])
    chosen: list[str | None] = [None] * len(rows)
    for row, column in zip(*linear_sum_assignment(matrix, maximize=True), strict=True):
        if matrix[row, column]:
            chosen[row] = free[column]
    return chosen


def _by_counts(
    label: str,
    cells: int,
    row: Counts,
    assigned: str | None,
    namer: Namer,
    written: dict[str, str],
) -> tuple[Naming | None, bool]:
    """What the counts say of a label, and whether to use it."""
    if not row:
        return None, False
    most = row.most_common(1)[0][0]
    key = most if assigned is None else assigned
    name, reason = written[key], Reason.assignment if assigned is not None else Reason.none
    said = f"{row[key]:,} of {cells:,} texts say it"
    if assigned is None:
        evidence = f"{said}, but the name goes to another label: whether both mean it is yours"
        return Naming(name=name, reason=reason, evidence=f"{evidence} to say"), False
    evidence, use = f"best one-to-one assignment on the counts: {said}", True
    if row[key] <= LEAST_SHARE * cells:
        evidence, use = f"{evidence}, no more than half", False
    own, other = namer.term(label), namer.term(name)
    if own is not None and own != other:
        if other is not None and namer.is_kind_of(own, other):
            evidence = f"{evidence}; the label is {own}, a kind of it"
        else:
            evidence, use = f"{evidence}; but the label is a term of its own, {own}", False
    return Naming(name=name, reason=reason, evidence=evidence), use
