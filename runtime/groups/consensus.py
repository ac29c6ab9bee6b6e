"""The answer of a group: what most of its cells are said to be, and how many say otherwise.

One decision: every described cell has one vote, an unsure one too, and all shares are kept. Names
with one ontology id are one answer; other names are compared without case, hyphens and spaces. A
tie, or a share below the least one, is "mixed": no name is made up for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.fields.names import plain_name
from c2t.runtime.fields.reader import UNKNOWN
from c2t.runtime.groups.labels import NO_GROUP, GroupLabels

MIXED = "mixed"
DIGITS = 5
State = Literal["consensus", "mixed", "unnamed", "undescribed"]


@dataclass(frozen=True, kw_only=True)
class CellAnswer:
    """What a group needs to know of one cell.

    Args:
        described: Whether it has a text.
        cell_type: As its text names it; None: it names none.
        ontology_id: Of that name; None: nothing is known of ids.
        confidence: Of the words that name it.
        unsure: Whether it is below the threshold; None: there is none.
    """

    described: bool
    cell_type: str | None = None
    ontology_id: str | None = None
    confidence: float | None = None
    unsure: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """One answer of a group.

    Args:
        cell_type: Its name, as most of the cells write it; "" for cells whose text names none.
        ontology_id: Of the name; None: nothing is known of ids.
        cells: How many give it.
        share: Of the described cells of the group.
    """

    cell_type: str
    ontology_id: str | None
    cells: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group and its answer.

    Args:
        name: The group's.
        cells: Its cells.
        described: Those with a text; the others have an error.
        unsure: Those of the described ones below the threshold; None: there is no threshold.
        state: "mixed" where no answer has the least share, or two have the same; "unnamed" where
            most of the texts name no cell type.
        median_confidence: Of the words that name a cell type, over the cells that name one.
        shares: All answers, the most frequent first.
        text: Written from the mean of the group's cell vectors; "" for none.
        text_cell_type: The cell type that this text names; "" for none.
    """

    name: str
    cells: int
    described: int
    unsure: int | None
    state: State
    median_confidence: float | None
    shares: tuple[Share, ...] = ()
    text: str = ""
    text_cell_type: str = ""

    @property
    def cell_type(self) -> str:
        """The consensus; "mixed" where there is none; "" where no cell type is named."""
        if self.state == "consensus":
            return self.shares[0].cell_type
        return MIXED if self.state == "mixed" else ""

    @property
    def ontology_id(self) -> str | None:
        """Of the consensus; "unknown" where there is none; None: nothing is known of ids."""
        if self.state == "consensus":
            return self.shares[0].ontology_id
        return UNKNOWN if any(share.ontology_id is not None for share in self.shares) else None

    @property
    def share(self) -> float | None:
        """Of the most frequent answer, also where it is no consensus."""
        return self.shares[0].share if self.shares else None

    @property
    def errors(self) -> int:
        """Cells without a text."""
        return self.cells - self.described

    @property
    def runner_up(self) -> Share | None:
        """The second most frequent answer."""
        return self.shares[1] if len(self.shares) > 1 else None

    def with_text(self, text: str, cell_type: str | None) -> Group:
        """The same, with a text of the group as a whole."""
        return replace(self, text=text, text_cell_type=cell_type or "")


class _Tally:
    """The votes of one group."""

    def __init__(self) -> None:
        self.cells = self.described = self.unsure = 0
        self.votes = Counter[str]()
        self.spellings: dict[str, Counter[tuple[str, str | None]]] = {}

    def add(self, answer: CellAnswer) -> None:
        """One more cell."""
        self.cells += 1
        if not answer.described:
            return
        self.described += 1
        self.unsure += bool(answer.unsure)
        name, term = answer.cell_type or "", answer.ontology_id
        key = term if term not in (None, UNKNOWN) else plain_name(name)
        assert key is not None
        self.votes[key] += 1
        self.spellings.setdefault(key, Counter())[name, term] += 1

    def shares(self) -> tuple[Share, ...]:
        """The answers, the most frequent first; of equal ones in the order of their names."""
        found = []
        for key, cells in self.votes.items():
            spellings = self.spellings[key]
            name, term = min(spellings, key=lambda s: (-spellings[s], s[0]))
            share = round(cells / self.described, DIGITS)
            found.append(Share(cell_type=name, ontology_id=term, cells=cells, share=share))
        return tuple(sorted(found, key=lambda share: (-share.cells, share.cell_type)))


def make_groups(
    labels: GroupLabels, answers: Iterable[CellAnswer], *, min_share: float
) -> tuple[Group, ...]:
    """The answers of all groups, in the order of their names.

    Args:
        labels: The group of each cell.
        answers: Of each cell, in the same order.
        min_share: Least share of a consensus.
    """
    tallies = [_Tally() for _ in labels.names]
    confidences = np.full(len(labels.codes), np.nan, np.float32)
    has_threshold = False
    for place, (code, answer) in enumerate(zip(labels.codes.tolist(), answers, strict=True)):
        if code == NO_GROUP:
            continue
        tallies[code].add(answer)
        has_threshold |= answer.unsure is not None
        if answer.cell_type is not None and answer.confidence is not None:
            confidences[place] = answer.confidence
    medians = _medians(labels.codes, confidences, len(tallies))
    groups = []
    for name, tally, median in zip(labels.names, tallies, medians, strict=True):
        shares = tally.shares()
        groups.append(
            Group(
                name=name,
                cells=tally.cells,
                described=tally.described,
                unsure=tally.unsure if has_threshold else None,
                state=_state(shares, tally.described, min_share),
                median_confidence=None if np.isnan(median) else round(float(median), DIGITS),
                shares=shares,
            )
        )
    return tuple(groups)


def _state(shares: tuple[Share, ...], described: int, min_share: float) -> State:
    if not shares:
        return "undescribed"
    first = shares[0]
    tie = len(shares) > 1 and shares[1].cells == first.cells
    # The share is compared before it is rounded, and as a quotient: 14 of 25 is 0.56, while
    # 0.56 * 25 is more than 14.
    if tie or first.cells / described < min_share:
        return "mixed"
    return "consensus" if first.cell_type else "unnamed"


def _medians(
    codes: NDArray[np.int32], values: NDArray[np.float32], groups: int
) -> NDArray[np.float64]:
    """The median of each group's values that are no NaN; NaN where there are none."""
    medians = np.full(groups, np.nan)
    kept = np.flatnonzero((codes != NO_GROUP) & ~np.isnan(values))
    order = kept[np.argsort(codes[kept], kind="stable")]
    ends = np.searchsorted(codes[order], np.arange(groups + 1))
    for group in range(groups):
        mine = values[order[ends[group] : ends[group + 1]]]
        if len(mine):
            medians[group] = float(np.median(mine))
    return medians
