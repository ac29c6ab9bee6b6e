"""`c2t.tl.explain`: the genes that the words of cells' texts rest on, inside an AnnData object.

One decision: which cells is always said, as each takes hundreds of runs: names or positions, or a
column of groups, of each of which a stated number of random cells is explained.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

import c2t
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.explain.evidence import FOR, CellEvidence
from c2t.runtime.explain.groups import NO_GROUP, sample_groups
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.output.evidence.rows import CELL_COLUMNS, as_rows
from c2t.runtime.scverse.described import column_of
from c2t.runtime.scverse.figure import needed
from c2t.runtime.scverse.target import KEY, ModelOrPath, failures, fill, opened, ready
from c2t.runtime.system.errors import ReportError
from c2t.runtime.system.progress import tracked

JOINED = "; "


def explain(
    adata: Any,
    model: ModelOrPath,
    cells: Sequence[str] | Sequence[int] | None = None,
    *,
    groupby: str | None = None,
    per_group: int = 20,
    n_genes: int = 10,
    reading: CellOptions | None = None,
    options: ExplainOptions | None = None,
    describing: DescribeOptions | None = None,
    key_added: str = KEY,
    copy: bool = False,
) -> Any:
    """Find the genes that the words of cells' texts rest on.

    Each cell takes hundreds of runs, so `cells` or `groupby` says which.

    Args:
        adata: Cells x genes; a view becomes an object of its own.
        model: A bundle's path, or what `c2t.open` gave.
        cells: Names, or positions in `adata`.
        groupby: Column of `obs`, such as "c2t_cell_type": random cells of each group.
        per_group: At most so many of a group.
        n_genes: At most so many genes of a cell are kept.
        reading: How to read the cells; it does not say which.
        options: Which words, and how many runs a cell may take.
        describing: How the texts are written; None: as the model does.
        key_added: Beginning of the names of what is added.
        copy: Fill a copy and return it.

    Returns:
        The copy if `copy`, else None. Added are, with the usual key: `uns["c2t_evidence"]`, a data
        frame with a row a gene, as `c2t explain` writes it; `obs["c2t_evidence"]`, the symbols of
        the genes for the words, strongest first, "" for a cell that was not explained; and
        `uns["c2t_evidence_about"]`, how it was made.

    Warns:
        UserWarning: What is doubtful about the cells; how many have an error.

    Raises:
        ReportError: Neither cells nor groups, or both; no such column, or no cell in a group.
        CellFileError: No AnnData object, no such cell, or no counts over known genes.
        OutputError: An object that can take no results.
        C2TError: The bundle's texts have no such field.

    Examples:
        >>> c2t.tl.explain(adata, "BUNDLE", groupby="c2t_cell_type", per_group=5)
        >>> adata.uns["c2t_evidence"].query("direction == 'for'").head()
    """
    target = ready(adata, copy=copy, key_added=key_added)
    chosen = _chosen(target, cells, groupby, per_group, options)
    if n_genes < 1:
        problem = f"n_genes is {n_genes}"
        raise ReportError(problem, hint="give a number of at least 1")
    reading = replace(reading or CellOptions(), cells=chosen, limit=None, filter_pass=False)
    with opened(model) as mine, open_cells(target, mine.bundle, reading) as reader:
        for warning in reader.warnings:
            warnings.warn(warning, stacklevel=2)
        explained = mine.explain(reader, options, describing=describing)
        found = list(tracked("explaining", explained, reader.n_cells, unit="cells"))
        about = {
            "bundle": mine.bundle.manifest.name,
            "bundle_sha256": mine.bundle.digest,
            "c2t_version": c2t.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "explaining": {
                name: value
                for name, value in asdict(options or ExplainOptions()).items()
                if value is not None
            },
            "cells": reader.n_cells,
            "groupby": groupby or "",
        }
        rows = reader.cell_index
    fill(
        target,
        {f"{key_added}_evidence": _genes(rows, found, target.n_obs, n_genes)},
        {},
        (f"{key_added}_evidence_about", about),
    )
    target.uns[f"{key_added}_evidence"] = _table(found, n_genes)
    if failed := failures([one.error for one in found], "evidence"):
        warnings.warn(failed, stacklevel=2)
    return target if copy else None


def _chosen(
    adata: Any,
    cells: Sequence[str] | Sequence[int] | None,
    groupby: str | None,
    per_group: int,
    options: ExplainOptions | None,
) -> Sequence[str] | Sequence[int]:
    """The cells to explain.

    Raises:
        ReportError: Not said, said twice, or none.
    """
    if (cells is None) == (groupby is None):
        problem = "neither cells nor groupby is given" if cells is None else "both are given"
        hint = "each cell takes hundreds of runs: name cells, or a column of `obs` with groupby"
        raise ReportError(problem, hint=hint)
    if groupby is None:
        assert cells is not None
        if isinstance(cells, str) or not len(cells):
            problem = f"cells is {cells!r}"
            raise ReportError(problem, hint="give a list of names or positions")
        return [cell if isinstance(cell, str) else int(cell) for cell in cells]  # type: ignore[return-value]
    if per_group < 1:
        problem = f"per_group is {per_group}"
        raise ReportError(problem, hint="give a number of at least 1")
    labels = column_of(adata, groupby)
    seed = (options or ExplainOptions()).seed
    sampled = sample_groups(labels, most=per_group, seed=seed)
    if not sampled:
        problem = f"no cell of adata is in a group of {groupby!r}"
        none = ", ".join(sorted(repr(name) for name in NO_GROUP))
        raise ReportError(problem, hint=f"name another column; these are no groups: {none}")
    return sorted(place for places in sampled.values() for place in places)


def _genes(
    rows: NDArray[np.int64], found: Sequence[CellEvidence], cells: int, most: int
) -> NDArray[Any]:
    column = np.full(cells, "", dtype=object)
    for row, one in zip(rows.tolist(), found, strict=True):
        names = [gene.symbol or gene.gene_id for gene in one.genes if gene.direction == FOR]
        column[row] = JOINED.join(names[:most])
    return column


def _table(found: Sequence[CellEvidence], most: int) -> Any:
    """A data frame with a row a gene; numbers are NaN and texts "" where there is nothing."""
    pandas = needed("pandas")
    rows = [row for one in found for row in as_rows(one, most)]
    columns = {}
    for name, kind in CELL_COLUMNS.items():
        values = [row[name] for row in rows]
        if kind == "text":
            columns[name] = pandas.array(["" if v is None else v for v in values], dtype=object)
        elif kind == "truth":
            columns[name] = np.array([bool(value) for value in values])
        else:
            columns[name] = np.array([np.nan if v is None else float(v) for v in values])
    return pandas.DataFrame(columns, index=[str(number) for number in range(len(rows))])
