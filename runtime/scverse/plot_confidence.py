"""`c2t.pl.confidence`: how sure the model is of each type's cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c2t.runtime.scverse.described import check_adata, column_of, described_types
from c2t.runtime.scverse.figure import check_save, finish, new_axes, plain
from c2t.runtime.scverse.target import KEY
from c2t.runtime.summary.categories import SPECIAL, categorise
from c2t.runtime.summary.palette import GREY, colour
from c2t.runtime.system.errors import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = 0.32  # inches of one type
_WIDTH = 4.4
_SPREAD = 0.32  # of a line: how far points lie beside its middle
_POINTS_MAX = 2000  # of a type; more hide each other
_SEED = 20240731


def confidence(
    adata: Any,
    *,
    column: str | None = None,
    key: str = KEY,
    most: int = 30,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw the confidence of the cells of each described type, and its median.

    Args:
        adata: Filled by `c2t.tl.describe`.
        column: Column of `obs` with numbers; None: the confidence of the words that name the type.
        key: What `key_added` was in `c2t.tl.describe`.
        most: Types at most, the most frequent ones.
        title: Above the picture.
        ax: Axes to draw on. They stay as large as they are: make their figure with
            `layout="constrained"`, or what stands beside them may reach beyond it.
        show: Show the figure; None: if there is a window for it, and neither `ax` nor `save`.
        save: File to write, such as "confidence.pdf".

    Returns:
        The axes.

    Raises:
        ReportError: No such column of numbers, or no descriptions.
        OutputError: A file that cannot be written.

    Examples:
        >>> c2t.pl.confidence(adata)
    """
    check_adata(adata)
    check_save(save)
    name = column or f"{key}_cell_type_confidence"
    described = described_types(adata, key)
    try:
        every = [float(value) if value else np.nan for value in column_of(adata, name)]
    except ValueError as error:
        problem = f"adata.obs[{name!r}] has no numbers: {error}"
        raise ReportError(problem, hint="name a column of numbers") from error
    values = np.array(every)[described.rows]
    groups, _ = categorise(described.names).of_at_most(most)
    axes, given = new_axes(ax, (_WIDTH, _LINE * max(len(groups.labels), 2)))
    chance = np.random.default_rng(_SEED)
    for place, label in enumerate(groups.labels):
        here = values[(groups.codes == place) & np.isfinite(values)]
        if not len(here):
            continue
        shown = chance.choice(here, min(len(here), _POINTS_MAX), replace=False)
        beside = place + chance.uniform(-_SPREAD, _SPREAD, len(shown))
        paint = GREY if label in SPECIAL else colour(place)
        axes.scatter(shown, beside, s=5, c=paint, linewidths=0, alpha=0.6, rasterized=True)
        median = float(np.median(here))
        axes.plot([median, median], [place - 0.4, place + 0.4], color="black", linewidth=1.6)
    cells = groups.counts.tolist()
    axes.set_yticks(
        range(len(groups.labels)),
        [f"{plain(label)}  ({n:,})" for label, n in zip(groups.labels, cells, strict=True)],
    )
    axes.set_ylim(len(groups.labels) - 0.5, -0.5)
    axes.set_xlabel(plain(name))
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title("line: median" if title is None else plain(title), loc="left", fontsize="medium")
    drawn: Axes = finish(axes, given=given, show=show, save=save)
    return drawn
