"""`c2t.pl.dotplot`: marker genes by described type, drawn by scanpy.

One decision: the values are made here, from the counts that describing itself takes: log1p of
counts per 10,000. So the picture is the same whether `X` holds counts, logarithms or z-scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.scverse.described import check_adata, column_of, described_types
from c2t.runtime.scverse.figure import check_save, finish, needed, plain
from c2t.runtime.scverse.target import KEY
from c2t.runtime.summary.categories import SPECIAL, categorise
from c2t.runtime.summary.top_genes import log_normalised, readable_names, top_genes
from c2t.runtime.system.errors import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENES_MAX = 200  # more are no picture


def dotplot(
    adata: Any,
    genes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    *,
    groupby: str | None = None,
    n_genes: int = 3,
    most: int = 30,
    reading: CellOptions | None = None,
    key: str = KEY,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw genes by described type: how many cells have them, and how much.

    Args:
        adata: Filled by `c2t.tl.describe`, with counts.
        genes: Names, or names by type; None: those that set each type apart, see
            `c2t.runtime.summary.top_genes`.
        groupby: Column of `obs`; None: the described type.
        n_genes: Genes of a type, where none are given.
        most: Types at most, the most frequent ones.
        reading: Where the counts are; None: found as describing does.
        key: What `key_added` was in `c2t.tl.describe`.
        title: Above the picture.
        ax: Axes to draw on. They stay as large as they are: make their figure with
            `layout="constrained"`, or what stands beside them may reach beyond it.
        show: Show the figure; None: if there is a window for it, and neither `ax` nor `save`.
        save: File to write, such as "genes.pdf".
        **kwargs: For `scanpy.pl.dotplot`, such as `standard_scale="var"`.

    Returns:
        The axes of the dots.

    Raises:
        ReportError: No descriptions, an unknown gene or column, or scanpy is not installed.
        CellFileError: No counts.
        OutputError: A file that cannot be written.

    Examples:
        >>> c2t.pl.dotplot(adata)
        >>> c2t.pl.dotplot(adata, ["CD3E", "MS4A1", "LYZ"], groupby="leiden")
    """
    check_adata(adata)
    check_save(save)
    anndata, scanpy = needed("anndata"), needed("scanpy")
    pandas = needed("pandas")
    if groupby is None:
        described = described_types(adata, key)
        rows, names = described.rows, described.names
    else:
        rows, names = np.arange(adata.n_obs), [v or None for v in column_of(adata, groupby)]
    groups, _ = categorise(names).of_at_most(most)
    options = reading or CellOptions(cells=rows.tolist(), filter_pass=False)
    with CellCounts(adata, options) as counts:
        place = {int(row): code for row, code in zip(rows, groups.codes, strict=True)}
        codes = np.array([place.get(int(row), -1) for row in counts.cell_index], np.int64)
        columns, shown = _chosen(counts, codes, groups.labels, genes, n_genes)
        wanted = np.full(len(counts.gene_names()), -1, np.int64)
        wanted[columns] = np.arange(len(columns))
        matrix = np.zeros((counts.n_cells, len(columns)), np.float32)
        first = 0
        for part in counts.rows():
            part, values = log_normalised(counts, part)
            where = wanted[part.indices]
            keep = where >= 0
            matrix[first + part.row_index()[keep], where[keep]] = values[keep]
            first += part.shape[0]
    inside = codes >= 0
    column = plain(groupby or f"{key}_cell_type")
    small = anndata.AnnData(
        matrix[inside],
        obs=pandas.DataFrame(
            {column: pandas.Categorical.from_codes(codes[inside], _drawn(groups.labels))},
            index=[str(number) for number in range(int(inside.sum()))],
        ),
        var=pandas.DataFrame(index=shown),
    )
    drawn = scanpy.pl.dotplot(
        small,
        shown,
        groupby=column,
        title=None if title is None else plain(title),
        ax=ax,
        show=False,
        return_fig=False,
        **kwargs,
    )
    axes = drawn["mainplot_ax"]
    made: Axes = finish(axes, given=ax is not None, show=show, save=save, fit=False)
    return made


def _drawn(labels: Sequence[str]) -> list[str]:
    """Names as they are drawn; two that would look alike are told apart by their number."""
    names = [plain(label) for label in labels]
    return [
        name if names.count(name) == 1 else f"{name} ({number + 1})"
        for number, name in enumerate(names)
    ]


def _chosen(
    counts: CellCounts,
    codes: Any,
    labels: Sequence[str],
    genes: Sequence[str] | Mapping[str, Sequence[str]] | None,
    n_genes: int,
) -> tuple[list[int], list[str]]:
    """Columns of the matrix and what they are called, each once.

    Raises:
        ReportError: None, too many, or one that is not there.
    """
    names = readable_names(counts)
    if genes is None:
        types = sum(label not in SPECIAL for label in labels)
        found = top_genes(counts, np.where(codes < types, codes, -1), types, most=n_genes)
        columns = list(dict.fromkeys(gene.column for group in found for gene in group))
    else:
        if isinstance(genes, str):
            genes = [genes]
        asked = list(genes)
        if isinstance(genes, Mapping):
            asked = [gene for part in genes.values() for gene in part]
        place = {name: number for number, name in reversed(list(enumerate(names)))}
        place |= {name: number for number, name in reversed(list(enumerate(counts.gene_names())))}
        missing = [gene for gene in asked if gene not in place]
        if missing:
            problem = f"{len(missing):,} of the genes are not in adata: {', '.join(missing[:5])}"
            raise ReportError(problem, hint=f"its genes have names such as {names[0]}")
        columns = list(dict.fromkeys(place[gene] for gene in asked))
    if not 0 < len(columns) <= GENES_MAX:
        problem = f"there are {len(columns):,} genes to draw"
        raise ReportError(problem, hint=f"name 1 to {GENES_MAX} genes; the types need 3 cells each")
    shown = [plain(names[column]) for column in columns]
    # Two columns of one name are told apart by their number.
    return columns, [
        name if shown.count(name) == 1 else f"{name} (column {column})"
        for name, column in zip(shown, columns, strict=True)
    ]
