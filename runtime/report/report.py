"""What a report says, gathered from the results and the files beside them; nothing is drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.report.cells import CellsAsked, CellsPart, read_cells
from c2t.runtime.report.evidence import TypeEvidence, read_evidence
from c2t.runtime.report.groups import GroupLine, group_lines
from c2t.runtime.report.results import Results
from c2t.runtime.summary.categories import (
    FAILED,
    NOT_NAMED,
    Categories,
    categorise,
    shares,
)
from c2t.runtime.summary.cross_table import CrossTable, cross_table
from c2t.runtime.summary.own_columns import columns_hint
from c2t.runtime.summary.palette import COLOURS
from c2t.runtime.summary.top_genes import TopGene
from c2t.runtime.system.errors import CellFileError, ReportError

TYPES_MAX = 40  # that are told in full
LISTED_MAX = 200  # that have a line in the table
LEAST_SURE = 12
ERRORS_MAX = 20
# What a type's cells also say, in the order of the page.
ALSO = ("tissue", "disease", "sex", "age")
_TERM = re.compile(r"(CL|UBERON|MONDO|HsapDV|PATO|EFO|NCBITaxon|HANCESTRO):([0-9]{4,12})")


@dataclass(frozen=True, kw_only=True)
class TypePart:
    """A described type.

    Attributes:
        number: Its place among the types, from 0; the most frequent first.
        name: As the texts say it.
        cells: Its cells.
        share: Of all cells of the results.
        unsure: How many of its cells are unsure of it.
        term: Ontology id that most of its cells have; None: none is known.
        text: The text that most of its cells have, of those the one with the highest confidence.
        text_cells: How many have this very text.
        confidence: Median over its cells of the words that name the type; NaN: not stated.
        also: Other fields: name, and the most frequent values with their shares.
        genes: Its top genes; empty: none.
        evidence: Genes that the model's words rest on; None: the type was not explained.
    """

    number: int
    name: str
    cells: int
    share: float
    unsure: int
    term: str | None
    text: str | None
    text_cells: int
    confidence: float
    also: list[tuple[str, list[tuple[str, float]]]]
    genes: list[TopGene]
    evidence: TypeEvidence | None


@dataclass(frozen=True, kw_only=True)
class ListedType:
    """A type, or what is no type, that has no more than a line in the table.

    Attributes:
        name: As the texts say it, or one of `SPECIAL`.
        cells: Its cells.
        share: Of all cells of the results.
        unsure: How many of its cells are unsure of it.
    """

    name: str
    cells: int
    share: float
    unsure: int


@dataclass(frozen=True, kw_only=True)
class UnsureCell:
    """A cell whose type has a low confidence."""

    cell: str
    name: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report is made of, besides the results.

    Args:
        cells: See `CellsAsked`.
        label_map: What own labels are called in the texts.
        evidence: File of evidence; see `c2t.runtime.report.evidence`.
        groups: Table of groups that describing wrote; None: what the results say of groups.
        title: Heading; None: made from the name of the file.
    """

    cells: CellsAsked = field(default_factory=CellsAsked)
    label_map: Mapping[str, str] | None = None
    evidence: Path | None = None
    groups: Path | None = None
    title: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """All that the page shows.

    Attributes:
        results: The descriptions.
        groups: Cells by the type that their text says, whether sure or not; the types that have a
            colour, the others have the code -1.
        grey: [cells] the unsure ones, which the picture draws in grey.
        rarer: How many types have no colour.
        types: The types that are told, the most frequent first.
        listed: Further types, at most 200 in all.
        unlisted: How many types are neither.
        apart: What is no type: no type named, not described. With these all cells are counted.
        lines: The groups of cells and their answers; empty: cells were not grouped.
        cells_part: What the file of cells adds.
        compared: Own labels against the types; None: no labels.
        label_column: Where they are from.
        mapped: How many labels a map renames.
        unsure: Cells that the results call unsure; None: they do not say.
        least_sure: The cells with the lowest confidence in their type.
        failed: Errors with their numbers of cells.
        title: Heading.
    """

    results: Results
    groups: Categories
    grey: NDArray[np.bool_]
    rarer: int
    types: list[TypePart]
    listed: list[ListedType]
    unlisted: int
    apart: list[ListedType]
    lines: list[GroupLine]
    cells_part: CellsPart
    compared: CrossTable | None
    label_column: str
    mapped: int
    unsure: int | None
    not_named: int
    least_sure: list[UnsureCell]
    failed: list[tuple[str, int]]
    title: str

    @property
    def every_type(self) -> int:
        """How many types there are."""
        return len(self.types) + len(self.listed) + self.unlisted


def make_report(
    results: Results,
    options: ReportOptions,
    *,
    advance: Callable[[int], None] = lambda amount: None,
) -> Report:
    """Gather a report.

    Args:
        results: The descriptions.
        options: What else there is.
        advance: Told how many cells were read for their genes since its last call.

    Raises:
        CellFileError: The file of cells cannot be read, or has no such column.
        ReportError: The file of cells holds other cells.
    """
    names, grey = results.names(), results.unsure_cells()
    lines = group_lines(results, options.groups)
    evidence = _evidence(options.evidence, names)
    every = categorise(names)
    told, _ = every.of_at_most(TYPES_MAX)
    try:
        part = read_cells(results, options.cells, told, advance=advance)
    except CellFileError as error:
        raise _with_columns(error, results, options.cells) from None
    groups, rarer = every.of_at_most(len(COLOURS))
    failed = Counter(error for error in results.errors if error is not None)
    counted = dict(zip(every.labels, every.counts.tolist(), strict=True))
    marked = np.bincount(every.codes[grey], minlength=len(every.labels))

    def lines_of(places: Iterable[int]) -> list[ListedType]:
        return [
            ListedType(
                name=every.labels[place],
                cells=int(every.counts[place]),
                share=every.share(place),
                unsure=int(marked[place]),
            )
            for place in places
        ]

    column, compared = options.cells.labels or "", None
    label_map = options.label_map or {}
    if part.labels is not None:
        compared = cross_table(
            part.labels, names, label_map, unsure=None if results.unsure is None else grey.tolist()
        )
    return Report(
        results=results,
        groups=groups,
        grey=grey,
        rarer=rarer,
        types=_types(results, told, part.genes, evidence),
        listed=lines_of(range(told.types, min(every.types, LISTED_MAX))),
        unlisted=max(every.types - LISTED_MAX, 0),
        apart=lines_of(range(every.types, len(every.labels))),
        lines=lines,
        cells_part=part,
        compared=compared,
        label_column=column,
        mapped=len(set(part.labels or ()) & set(label_map)),
        unsure=None if results.unsure is None else int(grey.sum()),
        not_named=counted.get(NOT_NAMED, 0),
        least_sure=_least_sure(results, names),
        failed=failed.most_common(ERRORS_MAX),
        title=options.title or f"Cell descriptions: {results.path.stem}",
    )


def term_link(term: str) -> str | None:
    """The address of an ontology's term, for a link that nothing fetches; None: no such id."""
    found = _TERM.fullmatch(term)
    return f"http://purl.obolibrary.org/obo/{found[1]}_{found[2]}" if found else None


def errors_in_all(report: Report) -> int:
    """Cells without a description."""
    return sum(name == FAILED for name in report.results.names())


def _with_columns(error: CellFileError, results: Results, asked: CellsAsked) -> CellFileError:
    """The same error; if a column of labels is not there, with those that are meant perhaps."""
    path, name = asked.path or results.path, asked.labels
    if name is None or not path.exists():
        return error
    try:
        store = open_store(path)
    except CellFileError:
        return error
    try:
        columns = store.obs.columns
    except CellFileError:
        return error
    finally:
        store.close()
    if name in columns:
        return error
    return CellFileError(error.problem, hint=columns_hint(name, columns))


def _evidence(path: Path | None, names: Sequence[str | None]) -> dict[str, TypeEvidence]:
    if path is None:
        return {}
    found = read_evidence(path)
    if not set(found).intersection(name for name in names if name):
        problem = f"{path} explains {next(iter(found))!r}, and the results have no such type"
        raise ReportError(problem, hint="give the evidence of the same cells")
    return found


def _types(
    results: Results,
    told: Categories,
    genes: Sequence[list[TopGene]],
    evidence: Mapping[str, TypeEvidence],
) -> list[TypePart]:
    parts = []
    order = np.argsort(told.codes, kind="stable")
    unsure = results.unsure_cells()
    bounds = np.searchsorted(told.codes[order], np.arange(told.types + 1))
    for number in range(told.types):
        rows = order[bounds[number] : bounds[number + 1]]
        name = told.labels[number]
        text, text_cells = _typical(results, rows)
        parts.append(
            TypePart(
                number=number,
                name=name,
                cells=len(rows),
                share=told.share(number),
                unsure=int(unsure[rows].sum()),
                term=_most(results.terms.get("cell_type"), rows),
                text=text,
                text_cells=text_cells,
                confidence=_median(results.cell_type_confidence[rows]),
                also=[
                    (other, shares([results.fields[other][row] for row in rows.tolist()]))
                    for other in ALSO
                    if any(results.fields.get(other, ()))
                ],
                genes=genes[number] if number < len(genes) else [],
                evidence=evidence.get(name),
            )
        )
    return parts


def _typical(results: Results, rows: NDArray[np.int64]) -> tuple[str | None, int]:
    """The text that most cells have; among equally frequent ones that of highest confidence."""
    best: dict[str, float] = {}
    counted = Counter[str]()
    for row in rows.tolist():
        text = results.texts[row]
        if text is not None:
            counted[text] += 1
            confidence = results.confidence[row]
            sure = float(confidence) if np.isfinite(confidence) else -1.0
            best[text] = max(best.get(text, -1.0), sure)
    if not counted:
        return None, 0
    text = max(counted, key=lambda one: (counted[one], best[one], one))
    return text, counted[text]


def _most(values: Sequence[str | None] | None, rows: NDArray[np.int64]) -> str | None:
    counted = Counter(values[row] for row in rows.tolist()) if values else Counter()
    del counted[None]
    return counted.most_common(1)[0][0] if counted else None


def _median(values: NDArray[np.float64]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _least_sure(results: Results, names: Sequence[str | None]) -> list[UnsureCell]:
    values = results.cell_type_confidence
    order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
    return [
        UnsureCell(
            cell=results.cells[place],
            # What the text says, also where it is called unsure.
            name=results.fields["cell_type"][place] or NOT_NAMED,
            confidence=float(values[place]),
        )
        for place in order[:LEAST_SURE].tolist()
        if np.isfinite(values[place]) and names[place] not in (FAILED,)
    ]
