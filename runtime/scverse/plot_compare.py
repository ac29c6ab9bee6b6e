"""`c2t.pl.compare`: own labels against described types, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.runtime.labels.label_map import cell_type_names
from c2t.runtime.scverse.described import check_adata, column_of, described_types
from c2t.runtime.scverse.figure import check_save, finish, new_axes, plain
from c2t.runtime.scverse.target import KEY
from c2t.runtime.summary.cross_table import CrossTable, cross_table
from c2t.runtime.system.errors import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = (0.48, 0.36)  # inches of one square
_NOTHING = "#f1f2f4"  # a square without cells


def compare(
    adata: Any,
    labels: str,
    *,
    label_map: Mapping[str, str] | str | Path | None = None,
    key: str = KEY,
    most: int = 40,
    counts: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw own labels (lines) against described types (columns), with shares and counts.

    A square's colour is the share of its line. Columns are ordered so that agreement lies on a
    diagonal, whatever the two sides call a type. The title has the adjusted Rand index, in which
    names play no part: 1 if both part the cells alike, 0 for chance. Cells count by what their
    texts say, whether sure or not; where unsure cells are marked, the title also has the index of
    the others.

    Args:
        adata: Filled by `c2t.tl.describe`.
        labels: Column of `obs` with own labels.
        label_map: What labels are called in the texts: a mapping, or the path of a table (`.tsv`,
            `.csv`) or a JSON file.
        key: What `key_added` was in `c2t.tl.describe`.
        most: Lines and columns at most; rarer ones are summed up.
        counts: Write the number of cells into each square.
        title: Above the picture.
        ax: Axes to draw on. They stay as large as they are: make their figure with
            `layout="constrained"`, or what stands beside them may reach beyond it.
        show: Show the figure; None: if there is a window for it, and neither `ax` nor `save`.
        save: File to write, such as "labels.pdf".

    Returns:
        The axes.

    Raises:
        ReportError: No such column, no descriptions, or no label map.
        OutputError: A file that cannot be written.

    Examples:
        >>> c2t.pl.compare(adata, "cell_type", label_map={"NK": "natural killer cell"})
    """
    check_adata(adata)
    check_save(save)
    if most < 1:
        problem = f"most is {most}"
        raise ReportError(problem, hint="give a number of lines of at least 1")
    own = column_of(adata, labels)
    described = described_types(adata, key)
    names = cell_type_names(Path(label_map)) if isinstance(label_map, (str, Path)) else label_map
    table = cross_table(
        [own[row] for row in described.rows.tolist()],
        described.names,
        names,
        unsure=described.unsure,
        most=most,
    )
    size = _CELL[0] * len(table.columns), _CELL[1] * len(table.rows)
    axes, given = new_axes(ax, size)
    _draw(axes, table, counts=counts)
    axes.set_ylabel(plain(labels))
    axes.set_xlabel("described type")
    said = f"own labels against described types (adjusted Rand index {table.rand_index:.2f}"
    said += ")" if table.sure is None else f"; without unsure cells {table.sure.rand_index:.2f})"
    axes.set_title(plain(said if title is None else title), loc="left", fontsize="medium")
    drawn: Axes = finish(axes, given=given, show=show, save=save)
    return drawn


def _draw(axes: Any, table: CrossTable, *, counts: bool) -> None:
    shares = table.shares
    some = np.ma.masked_equal(shares, 0)
    image = axes.imshow(some, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor(_NOTHING)
    total = table.counts.sum(axis=1)
    axes.set_yticks(
        range(len(table.rows)),
        [
            f"{plain(name)}  ({cells:,})"
            for name, cells in zip(table.rows, total.tolist(), strict=True)
        ],
    )
    axes.set_xticks(range(len(table.columns)), list(map(plain, table.columns)), rotation=90)
    axes.set_xticks(np.arange(len(table.columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(table.rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.grid(which="major", visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    if counts:
        for row, column in np.argwhere(table.counts > 0).tolist():
            ink = "white" if shares[row, column] > 0.5 else "black"
            words = _short(int(table.counts[row, column]))
            axes.text(column, row, words, ha="center", va="center", color=ink, fontsize="small")
    beside = axes.inset_axes(
        (1.0 + 0.25 / max(len(table.columns), 1), 0.0, 0.3 / max(len(table.columns), 1), 1.0)
    )
    axes.figure.colorbar(image, cax=beside, label="share of the label's cells")


def _short(cells: int) -> str:
    return f"{cells:,}" if cells < 10_000 else f"{cells / 1000:.0f}k"
