"""`c2t.pl.umap`: the cells in a plane, by described type or by any column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.output.record import FIELD_COLUMNS
from c2t.runtime.scverse.described import check_adata, column_of, described_types
from c2t.runtime.scverse.figure import check_save, finish, needed, new_axes, plain
from c2t.runtime.scverse.target import KEY
from c2t.runtime.summary.categories import SPECIAL, Categories, categorise, cells_words
from c2t.runtime.summary.palette import COLOURS, GREY, colour
from c2t.runtime.summary.plane import FloatArray, number_places, principal_plane
from c2t.runtime.system.errors import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.0, 4.6)  # inches of the data area
_PALE = "#e4e4e4"  # cells that describing was not asked for
_NOT_ASKED = -2  # their code
_NEAR = 0.045  # of the area's width: how near to each other two numbers may be


def umap(
    adata: Any,
    color: str | None = None,
    *,
    basis: str | None = None,
    key: str = KEY,
    size: float | None = None,
    numbers: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw the cells in a plane, coloured by described type.

    The legend has whole names and shares. Numbers on the cells lead to it, for those who cannot
    tell all colours apart. Grey are unsure cells, those with an error, and types beyond the first
    20. Cells that describing was not asked for are pale, and no part of the shares.

    Args:
        adata: With a plane in `obsm`, as scanpy's `sc.tl.umap` leaves it, or with the embedding
            that `c2t.tl.describe` adds.
        color: Column of `obs`; None: the described type. Numbers get a colour bar.
        basis: Name in `obsm`; None: `"X_umap"`, else `"X_c2t"`. Of `"X_c2t"` and whatever has more
            than two columns the first two principal components are drawn, but the first two columns
            of `"X_pca"`. The labels of the axes say which.
        key: What `key_added` was in `c2t.tl.describe`.
        size: Area of a point, in square points; None: by the number of cells.
        numbers: Write each type's number on its cells.
        title: Above the picture; None: the column's name.
        ax: Axes to draw on. They stay as large as they are: make their figure with
            `layout="constrained"`, or what stands beside them may reach beyond it.
        show: Show the figure; None: if there is a window for it, and neither `ax` nor `save`.
        save: File to write, such as "cells.pdf".

    Returns:
        The axes.

    Raises:
        ReportError: No such column or plane, or no descriptions.
        OutputError: A file that cannot be written.

    Examples:
        >>> c2t.pl.umap(adata)
        >>> c2t.pl.umap(adata, "c2t_confidence", save="confidence.png")
    """
    check_adata(adata)
    check_save(save)
    column = color or f"{key}_cell_type"
    name = _name(adata, basis, key)
    places = _places(adata, name)
    numeric = _numbers(adata, column)
    groups = _groups(adata, column, key) if numeric is None else None
    axes, given = new_axes(ax, SIZE)
    # scanpy's size of points: what reads well from hundreds to a million cells.
    area = size or float(np.clip(120_000 / max(len(places), 1), 0.4, 30))
    if groups is not None:
        _draw_types(axes, places, groups, area, numbers=numbers)
    elif numeric is not None:
        _draw_numbers(axes, places, numeric, area, column)
    plane = plain(name.removeprefix("X_").upper())
    kind = "" if adata.obsm[name].shape[1] == 2 else " PC"
    axes.set(xticks=[], yticks=[], xlabel=f"{plane}{kind}1", ylabel=f"{plane}{kind}2")
    axes.set_title(plain(title if title is not None else column))
    drawn: Axes = finish(axes, given=given, show=show, save=save)
    return drawn


def _name(adata: Any, basis: str | None, key: str) -> str:
    wanted = ("X_umap", f"X_{key}") if basis is None else (basis, f"X_{basis}")
    for name in wanted:
        if name in adata.obsm:
            return name
    if basis is None:
        problem = f"adata.obsm has no 'X_umap', and no embedding 'X_{key}' to draw instead"
        hint = "`scanpy.tl.umap(adata)` makes the first, `c2t.tl.describe(adata, model)` the second"
        if len(adata.obsm):
            hint += f"; or name with `basis` what is there: {', '.join(map(str, adata.obsm))}"
        raise ReportError(problem, hint=hint)
    problem = f"adata.obsm has no {basis!r}"
    there = ", ".join(map(str, adata.obsm)) or "nothing"
    raise ReportError(problem, hint=f"it has {there}; `scanpy.tl.umap` makes X_umap")


def _places(adata: Any, name: str) -> FloatArray:
    """[cells, 2]; NaN for cells without a place."""
    matrix = np.asarray(adata.obsm[name])
    if matrix.ndim != 2 or matrix.shape[1] < 2 or matrix.dtype.kind not in "fiu":
        problem = f"adata.obsm[{name!r}] is no matrix of numbers with two columns"
        raise ReportError(problem, hint="name another one with `basis`")
    if matrix.shape[1] == 2 or name == "X_pca":
        return matrix[:, :2].astype(np.float64)
    return principal_plane(lambda start, stop: matrix[start:stop], len(matrix))


def _numbers(adata: Any, column: str) -> NDArray[np.float64] | None:
    """The values of a column of numbers; None where it has names."""
    if column not in adata.obs:
        return None
    values = adata.obs[column]
    if getattr(values.dtype, "kind", "O") not in "fiu":
        return None
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def _groups(adata: Any, column: str, key: str) -> Categories:
    """Each cell's group; -1 for types beyond the colours, `_NOT_ASKED` for cells left out."""
    values: list[str | None] = list(column_of(adata, column))
    rows = np.arange(adata.n_obs)
    if column == f"{key}_cell_type" or (
        column in {f"{key}_{field}" for field in FIELD_COLUMNS} and f"{key}_cell_type" in adata.obs
    ):
        described = described_types(adata, key)
        rows = described.rows
        if column == f"{key}_cell_type":
            values = described.types
        else:
            values = [values[row] for row in rows.tolist()]
    groups, _ = categorise(values).of_at_most(len(COLOURS))
    codes = np.full(adata.n_obs, _NOT_ASKED, np.int64)
    codes[rows] = groups.codes
    return Categories(labels=groups.labels, codes=codes, counts=groups.counts)


def _draw_types(
    axes: Any, places: FloatArray, groups: Categories, area: float, *, numbers: bool
) -> None:
    lines = needed("matplotlib.lines")
    seen = np.isfinite(places).all(axis=1)
    paint = [
        *(colour(n) if label not in SPECIAL else GREY for n, label in enumerate(groups.labels)),
        GREY,  # of code -1
    ]
    missing = places[seen & (groups.codes == _NOT_ASKED)]
    axes.scatter(missing[:, 0], missing[:, 1], s=area, c=_PALE, linewidths=0, rasterized=True)
    order = [-1, *reversed(range(groups.types, len(groups.labels))), *range(groups.types)]
    for code in order:  # small groups lie on top
        here = places[seen & (groups.codes == code)]
        axes.scatter(here[:, 0], here[:, 1], s=area, c=paint[code], linewidths=0, rasterized=True)
    if numbers:
        _write_numbers(axes, places, groups)
    total = int((groups.codes != _NOT_ASKED).sum())
    handles, names = [], []
    for number, (label, cells) in enumerate(
        zip(groups.labels, groups.counts.tolist(), strict=True)
    ):
        before = f"{number + 1}  " if numbers and label not in SPECIAL else ""
        words = f"{before}{label}  ({100 * cells / max(total, 1):.1f} %)"
        handles.append(_handle(lines, paint[number]))
        names.append(words)
    if (groups.codes == -1).any():
        rest = int((groups.codes == -1).sum())
        handles.append(_handle(lines, GREY))
        names.append(f"others  ({100 * rest / total:.1f} %)")
    if (groups.codes == _NOT_ASKED).any():
        rest = int((groups.codes == _NOT_ASKED).sum())
        handles.append(_handle(lines, _PALE))
        names.append(f"not described, being not asked for  ({cells_words(rest)})")
    legend = axes.legend(
        handles=handles,
        labels=[" "] * len(handles),  # a name that begins with "_" would be left out
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
    )
    for text, words in zip(legend.get_texts(), names, strict=True):
        text.set_text(plain(words))


def _handle(lines: Any, paint: str) -> Any:
    return lines.Line2D([], [], marker="o", linestyle="", markersize=7, color=paint)


def _write_numbers(axes: Any, places: FloatArray, groups: Categories) -> None:
    effects = needed("matplotlib.patheffects")
    seen = np.isfinite(places).all(axis=1)
    if not seen.any():
        return
    low, high = places[seen].min(axis=0), places[seen].max(axis=0)
    room = np.where(high > low, high - low, 1.0)
    codes = np.where(groups.codes < groups.types, groups.codes, -1)
    at = number_places((places - low) / room, codes, least=_NEAR) * room + low
    for number, place in enumerate(at.tolist()):
        if np.isfinite(place).all():
            axes.text(
                *place,
                str(number + 1),
                ha="center",
                va="center",
                fontsize=10,
                fontweight="bold",
                path_effects=[effects.withStroke(linewidth=3, foreground="white")],
            )


def _draw_numbers(
    axes: Any, places: FloatArray, values: NDArray[np.float64], area: float, label: str
) -> None:
    """Points by a colour scale that is even to the eye and to the colour-blind."""
    there = np.isfinite(values)
    missing = places[~there]
    axes.scatter(missing[:, 0], missing[:, 1], s=area, c=GREY, linewidths=0, rasterized=True)
    order = np.flatnonzero(there)
    points = axes.scatter(
        places[order, 0],
        places[order, 1],
        s=area,
        c=values[order],
        cmap="viridis",
        linewidths=0,
        rasterized=True,
    )
    beside = axes.inset_axes((1.02, 0.0, 0.035, 1.0))
    axes.figure.colorbar(points, cax=beside, label=plain(label))
