"""Texts compared with the cells of a file: `c2t search` as a function.

One decision: a group's score is that of its mean vector, which is the mean of its cells' scores. So
nothing but scores is kept, and a group needs no choice of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import c2t
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import SEARCH
from c2t.runtime.cells.formats.place import check_cells_path
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.embedder import Embedder, EmbedOptions
from c2t.runtime.describe.searcher import (
    ScoredCells,
    Searcher,
    best_places,
    check_memory,
    joined_scores,
)
from c2t.runtime.groups.column import check_column, column_groups, column_warnings
from c2t.runtime.groups.labels import GroupLabels
from c2t.runtime.joint.scores import group_scores
from c2t.runtime.output.audited_run import RunAudit
from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.run_settings import reading_settings
from c2t.runtime.search.score_files import FORMATS, Scores
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import atomic_file, check_target
from c2t.runtime.system.progress import progress_bar

DIGITS = 4  # of a score in a table


@dataclass(frozen=True, kw_only=True)
class SearchFileOptions:
    """What to search for, and where to write scores.

    Args:
        cells: The file of cells.
        queries: Different texts.
        output: A file for the scores of all cells; its suffix says the format. None: none.
        group_by: A column of `obs`: its groups get scores, too.
        top: Cells and groups that are listed for each text.
        force: Replace an existing output.
        reading: How to read the cells, and which.
        embedding: How to embed them.
    """

    cells: Path
    queries: tuple[str, ...]
    output: Path | None = None
    group_by: str | None = None
    top: int = 10
    force: bool = False
    reading: CellOptions = field(default_factory=CellOptions)
    embedding: EmbedOptions = field(default_factory=EmbedOptions)


@dataclass(frozen=True, kw_only=True)
class FoundCell:
    """A cell among the best for a text; `group` where groups were asked for and it has one."""

    cell: str
    score: float
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class FoundGroup:
    """A group among the best for a text: its score, and how many cells it is the mean of."""

    group: str
    score: float
    cells: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found for one text.

    Attributes:
        query: The text.
        cells: The best cells, best first.
        groups: The best groups, best first; None where no groups were asked for.
    """

    query: str
    cells: tuple[FoundCell, ...]
    groups: tuple[FoundGroup, ...] | None


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """How a run ended.

    Attributes:
        found: One a text, in the order of the texts.
        cells: Cells of the run.
        failed: Those of them that have an error.
        engine: What ran the encoder.
        seconds: Time of the run.
        output: The file written.
    """

    found: tuple[Found, ...]
    cells: int
    failed: int
    engine: str
    seconds: float
    output: str | None


def search_file(
    bundle: Bundle,
    options: SearchFileOptions,
    *,
    report: Callable[[str], None],
    audit: AuditTrail | None = None,
    audit_reason: str = "",
) -> SearchSummary:
    """Compare texts with the cells of a file.

    Args:
        bundle: The bundle.
        options: What and where.
        report: Told what was found out, a sentence at a time.
        audit: Told what is done: see `c2t.runtime.output.audited_run`. What was found for a text,
            which is always printed, is a line of JSON there.
        audit_reason: Why settings are others than before.

    Raises:
        AuditError: The audit trail takes no line.
        BundleError: The bundle cannot search, or changed.
        CellFileError: The file cannot be read as counts over known genes, or has no such column.
        OutputError: A place that cannot be written.
        EngineError: A graph fails.
        C2TError: A text that cannot be compared; no cell could be embedded; too many cells.
    """
    started = time.monotonic()
    bundle.manifest.need_task(SEARCH)
    check_paths(options)
    audited = RunAudit(audit, options.cells, scope="search", reason=audit_reason)
    embedder = Embedder(bundle, options.embedding)
    searcher = Searcher(bundle, options.queries, embedder)
    for warning in searcher.texts.warnings:
        report(f"warning: {warning}")
    with open_cells(options.cells, bundle, options.reading) as reader:
        groups = _groups(reader, options, report)
        mark = CellsMark.of(options.cells)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        for warning in reader.warnings:
            report(f"warning: {warning}")
        check_memory(reader.n_cells, len(options.queries), what="scores")
        audited.start(
            bundle,
            engine=embedder.engine,
            cells=reader.n_cells,
            version=c2t.__version__,
            settings=_settings(options, reader),
            files={},
        )
        parts = []
        with progress_bar("searching", reader.n_cells, unit="cells") as step:
            for part in searcher.search(reader):
                parts.append(part)
                step(len(part))
        scored = joined_scores(parts, options.queries)
        bundle.check_unchanged()
        audited.check_cells()
        mark.check_unchanged(options.cells, hint="run again")
        about = _about(bundle, reader, embedder.engine)
    failed = [error for error in scored.errors if error]
    if len(failed) == len(scored):
        problem = f"no cell of {options.cells} could be compared: {failed[0] if failed else ''}"
        raise C2TError(problem, hint="name other counts or genes with --layer and --gene-column")
    found = tuple(
        found_for(scored, number, options.top, groups) for number in range(len(scored.queries))
    )
    if options.output is not None:
        about["cells_with_errors"] = len(failed)
        with atomic_file(options.output, force=options.force) as temporary:
            scores = Scores(scored=scored, about=about)
            FORMATS[options.output.suffix].write(scores, options.cells, temporary)
    for one in found:
        audited.printed(msgspec.json.encode(one) + b"\n")
    output = None if options.output is None else str(options.output)
    outputs = [] if output is None else [output]
    audited.stop(cells=len(scored), failed=len(failed), outputs=outputs)
    return SearchSummary(
        found=found,
        cells=len(scored),
        failed=len(failed),
        engine=embedder.engine,
        seconds=round(time.monotonic() - started, 3),
        output=output,
    )


def _settings(options: SearchFileOptions, reader: CellReader) -> dict[str, str]:
    """All that changes what comes out, by name."""
    column = options.group_by
    return {
        **reading_settings(reader),
        "texts": msgspec.json.encode(options.queries).decode(),
        "top": str(options.top),
        **({} if column is None else {"group by": column}),
    }


def check_paths(options: SearchFileOptions) -> None:
    """Refuse paths that would make the run fail; needs no bundle.

    Raises:
        CellFileError: The cells are not there, or no file.
        OutputError: An output that cannot or must not be written.
    """
    check_cells_path(options.cells)
    path = options.output
    if path is None:
        return
    if path.suffix not in FORMATS:
        problem = f"{path} has no suffix that says what to write"
        *others, last = FORMATS
        raise OutputError(problem, hint=f"end its name in {', '.join(others)} or {last}")
    check_not_cells(path, options.cells)
    check_target(path, force=options.force)
    FORMATS[path.suffix].check(options.cells)


def found_for(scored: ScoredCells, query: int, top: int, groups: GroupLabels | None) -> Found:
    """The best cells and groups for one text."""
    scores = scored.scores[:, query]
    names = [None] * len(scored) if groups is None else _group_names(groups)
    cells = tuple(
        FoundCell(cell=str(scored.ids[place]), score=_rounded(scores[place]), group=names[place])
        for place in scored.best(query, top)
    )
    if groups is None:
        return Found(query=scored.queries[query], cells=cells, groups=None)
    known = ~np.isnan(scores)
    members = [
        np.flatnonzero((groups.codes == code) & known).tolist() for code in range(len(groups.names))
    ]
    column = scored.scores[:, [query]].astype(np.float64)
    means = np.array([group_scores(column, own)[0] for own in members])
    best = tuple(
        FoundGroup(group=groups.names[code], score=_rounded(means[code]), cells=len(members[code]))
        for code in best_places(means, top)
    )
    return Found(query=scored.queries[query], cells=cells, groups=best)


def _group_names(groups: GroupLabels) -> list[str | None]:
    return [None if code < 0 else groups.names[code] for code in groups.codes.tolist()]


def _rounded(score: float) -> float:
    return round(float(score), DIGITS)


def _groups(
    reader: CellReader, options: SearchFileOptions, report: Callable[[str], None]
) -> GroupLabels | None:
    """The groups of the chosen cells, if any were asked for."""
    column = options.group_by
    if column is None:
        return None
    check_column(column, reader.obs_columns, reader.name)
    groups = column_groups(column, reader.obs_column(column))
    for warning in column_warnings(column, groups):
        report(f"warning: {warning}")
    return groups


def _about(bundle: Bundle, reader: CellReader, engine: str) -> dict[str, Any]:
    """Provenance to be stored with the scores."""
    return {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "precision": bundle.manifest.precision,
        "c2t_version": c2t.__version__,
        "engine": engine,
        "score": "exp(temperature) times the product of two vectors of length 1",
        "temperature": bundle.manifest.space.temperature,
        "counts": reader.counts_report.sentence,
        "genes": reader.gene_report.sentence,
        "cells": reader.n_cells,
    }
