"""Groups of a run: what is known before cells are described, and their answers afterwards.

One decision: what was described is read again, from the journal or from parts, as often as needed.
So grouping holds a few numbers a cell, and a run that was stopped groups as if it never was.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.bundle.tasks import EMBED
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.mean_text import write_mean_texts
from c2t.runtime.groups.column import check_column, column_groups, column_warnings
from c2t.runtime.groups.consensus import CellAnswer, Group, make_groups
from c2t.runtime.groups.labels import NO_GROUP, GroupLabels
from c2t.runtime.groups.leiden import (
    check_leiden,
    leiden_groups,
    leiden_settings,
    leiden_warnings,
)
from c2t.runtime.groups.options import LEIDEN, RESOLUTION, GroupOptions
from c2t.runtime.output.record import GroupedRecord, Record, embedding_array
from c2t.runtime.system.progress import progress_bar

_OTHER_STATES = ("mixed", "unnamed", "undescribed")
ReadRecords = Callable[[], Iterator[Record]]  # of all cells of a run, anew at each call
# Given the places of each group's cells among the run's, a text of each group, and the cell type
# that it names; None where there is none.
WriteTexts = Callable[[Sequence[Sequence[int]]], Sequence[tuple[str | None, str | None]]]
_NAMES = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """The groups of a run.

    Attributes:
        labels: The group of each cell.
        groups: Their answers.
        about: How they were made, for the files.
    """

    labels: GroupLabels
    groups: tuple[Group, ...]
    about: dict[str, Any]

    def records(self, records: Iterable[Record]) -> Iterator[GroupedRecord]:
        """The run's records with the answer of each cell's group."""
        codes = self.labels.codes.tolist()
        for code, record in zip(codes, records, strict=True):
            values = {name: getattr(record, name) for name in _NAMES}
            if code == NO_GROUP:
                yield GroupedRecord(**values)
                continue
            group = self.groups[code]
            yield GroupedRecord(
                **values,
                group=group.name,
                group_cell_type=group.cell_type or None,
                group_cell_type_ontology_term_id=group.ontology_id,
                group_share=group.share,
            )

    @property
    def sentence(self) -> str:
        """How many groups there are, how many of them have an answer, and of how many cells."""
        counts = Counter[str](group.state for group in self.groups)
        parts = [f"{counts['consensus']:,} with one answer"]
        if counts["consensus"]:
            # "Consensus" would say too much: with the usual least share it may be of 40 %.
            shares = (g.share or 0 for g in self.groups if g.state == "consensus")
            parts[0] += f" (of at least {int(100 * min(shares) + 1e-6)} % of the cells)"
        parts += [f"{counts[state]:,} {state}" for state in _OTHER_STATES if counts[state]]
        plural = "" if len(self.groups) == 1 else "s"
        return f"{len(self.groups):,} group{plural} by {self.about['by']}: {', '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """How the cells of a run will be grouped.

    Attributes:
        options: How.
        given: The groups of a column; None: they are computed from the embeddings.
        texts: Writes a text of each group; None: there are none.
        warnings: What is doubtful, a sentence each.
        report: Told when work begins that takes long.
    """

    options: GroupOptions
    given: GroupLabels | None
    texts: WriteTexts | None = None
    warnings: tuple[str, ...] = ()
    report: Callable[[str], None] = lambda sentence: None

    @property
    def sentence(self) -> str:
        """What will be done, for people."""
        if self.given is not None:
            count = len(self.given.names)
            return f"{count:,} group{'' if count == 1 else 's'} by {self._by}"
        return f"groups by {self._by}, resolution {self._resolution:g}"

    @property
    def settings(self) -> dict[str, str]:
        """All that the groups and their answers depend on, by name."""
        settings = {"group by": self._by, "least share": f"{self.options.min_share:g}"}
        if self.given is None:
            settings["resolution"] = f"{self._resolution:g}"
        return settings | {"texts of groups": "none" if self.texts is None else "written"}

    @property
    def _by(self) -> str:
        own = self.given is not None
        return f"obs[{self.options.by!r}]" if own else "leiden of the encoder's embedding"

    @property
    def _resolution(self) -> float:
        return RESOLUTION if self.options.resolution is None else self.options.resolution

    def group(self, records: ReadRecords, cells: int) -> Grouped:
        """Group the described cells.

        Args:
            records: Of all of them.
            cells: How many there are.

        Raises:
            C2TError: A library that clusters need is not installed.
        """
        labels = self.given
        settings: dict[str, Any] = {"by": self._by, "min_share": self.options.min_share}
        if labels is None:
            self.report(f"computing clusters of {cells:,} cells")
            labels = leiden_groups(
                lambda: map(embedding_array, records()), cells, resolution=self._resolution
            )
            settings |= leiden_settings(self._resolution)
            for warning in leiden_warnings(labels):
                self.report(f"warning: {warning}")
        groups = make_groups(labels, map(self._answer, records()), min_share=self.options.min_share)
        if self.texts is not None:
            groups = self._with_texts(self.texts, labels, groups)
            settings["texts"] = "written from the mean cell vectors of each group"
        settings["groups"] = len(groups)
        settings["cells_without_group"] = int(np.count_nonzero(labels.codes == NO_GROUP))
        return Grouped(labels=labels, groups=groups, about=settings)

    def _with_texts(
        self, write: WriteTexts, labels: GroupLabels, groups: tuple[Group, ...]
    ) -> tuple[Group, ...]:
        order = np.argsort(labels.codes, kind="stable")
        ends = np.searchsorted(labels.codes[order], np.arange(len(groups) + 1))
        places = [order[a:b].tolist() for a, b in itertools.pairwise(ends.tolist())]
        with_texts = []
        for group, (text, cell_type) in zip(groups, write(places), strict=True):
            with_texts.append(group.with_text(text or "", cell_type))
        return tuple(with_texts)

    def _answer(self, record: Record) -> CellAnswer:
        if record.text is None:
            return CellAnswer(described=False)
        return CellAnswer(
            described=True,
            cell_type=record.cell_type,
            ontology_id=record.cell_type_ontology_term_id,
            confidence=record.cell_type_confidence,
            unsure=record.unsure,
        )


def prepare_grouping(
    options: GroupOptions,
    cells: CellReader,
    manifest: Manifest,
    *,
    report: Callable[[str], None] = lambda sentence: None,
) -> Grouping:
    """Look at what the cells are grouped by, before any of them is described.

    Args:
        options: How to group.
        cells: The chosen cells.
        manifest: Of the bundle that they are read for.
        report: Told when work begins that takes long.

    Raises:
        TaskError: Clusters of embeddings, which the bundle does not make.
        CellFileError: No such column, or no cell has a value in it.
        C2TError: Numbers that mean nothing, or a library that clusters need is not installed.
    """
    options.check()
    columns = cells.obs_columns
    if options.computed(columns):
        manifest.need_task(EMBED)
        check_leiden()
        warnings: tuple[str, ...] = ()
        if LEIDEN in columns:
            warnings = (f"obs[{LEIDEN!r}] is left alone: a resolution asks for new clusters",)
        return Grouping(options=options, given=None, warnings=warnings, report=report)
    check_column(options.by, columns, cells.name)
    given = column_groups(options.by, cells.obs_column(options.by))
    return Grouping(
        options=options,
        given=given,
        report=report,
        warnings=tuple(column_warnings(options.by, given)),
    )


class GroupTexts:
    """Writes the texts of groups, with a bar that shows how far it is.

    Args:
        describer: Writes them.
        cells: Reads the cells.
        report: Told how it goes.
    """

    def __init__(
        self, describer: Describer, cells: CellReader, report: Callable[[str], None]
    ) -> None:
        self._describer, self._cells, self._report = describer, cells, report

    def __call__(self, groups: Sequence[Sequence[int]]) -> list[tuple[str | None, str | None]]:
        """A text of each group, given the places of its cells."""
        with progress_bar("writing texts of groups", len(groups), unit="groups") as advance:
            texts = write_mean_texts(self._describer, self._cells, groups, advance=advance)
        without = texts.count(None)
        if without:
            self._report(f"{without:,} of {len(texts):,} groups have no text of their own")
        read = self._describer.fields.read
        said = [read(text).get("cell_type") if text else None for text in texts]
        names = [cell_type.words if cell_type else None for cell_type in said]
        return list(zip(texts, names, strict=True))
