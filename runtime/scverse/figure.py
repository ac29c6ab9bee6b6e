"""What all plots share: matplotlib when it is needed, room for whole labels, showing and saving.

One decision: the data area keeps its size, and the figure grows around it until every label and the
legend are inside. Labels are never cut. Axes of the caller are left where they are, for other
things may lie beside them: long labels wrap there, and the caller makes the room.
"""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2t.runtime.system.errors import OutputError, ReportError
from c2t.runtime.system.text_tables import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HINT = 'run `pip install "c2t[scverse]"`'
WRAP = 32  # characters of a line, where the axes are the caller's
PAD = 0.12  # inches around everything
DPI = 150  # of saved pictures of pixels


def needed(name: str) -> Any:
    """Import a package that plots need.

    Raises:
        ReportError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        problem = f"this plot needs {package}, which is not installed"
        raise ReportError(problem, hint=HINT) from error


def plain(words: object) -> str:
    """A name as it is drawn: dollars are no formula, control characters are escapes.

    Names come from files; matplotlib would take what stands between two dollars as mathematics.
    """
    return visible(str(words)).replace("\n", " ").replace("$", r"\$")


def new_axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Any, bool]:
    """The caller's axes, or new ones.

    Args:
        ax: The caller's.
        size: Of the data area of new ones, in inches.

    Returns:
        The axes, and whether they are the caller's.
    """
    if ax is not None:
        return ax, True
    pyplot = needed("matplotlib.pyplot")
    figure = pyplot.figure(figsize=size)
    return figure.add_axes((0, 0, 1, 1)), False


def finish(
    axes: Any, *, given: bool, show: bool | None, save: str | Path | None, fit: bool = True
) -> Any:
    """Make room, save, show.

    Args:
        axes: What was drawn on.
        given: Whether they are the caller's.
        show: Show the figure; None: if it is our own, is not saved, and there is a window for it.
        save: File to write, whose suffix says the format.
        fit: Whether the figure grows around its axes.

    Returns:
        The axes.

    Raises:
        OutputError: The file cannot be written.
    """
    figure = axes.figure
    if given:
        _wrap(axes)
    elif fit:
        _grow(figure, axes)
    if save is not None:
        _save(figure, save)
    if show or (show is None and not given and save is None and _has_windows()):
        needed("matplotlib.pyplot").show()
    return axes


def check_save(save: str | Path | None) -> None:
    """Refuse a file that could not be saved, before anything is drawn.

    Raises:
        OutputError: No folder, no suffix, or one of no format.
    """
    if save is None:
        return
    if isinstance(save, bool) or not isinstance(save, (str, Path)):
        problem = f"save is {save!r}"
        raise OutputError(problem, hint='give a file name, such as "cells.pdf"')
    path = Path(save)
    known = sorted(needed("matplotlib.figure").Figure().canvas.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        problem = f"{path} has no suffix that says what to write"
        raise OutputError(problem, hint=f"end its name in one of: {', '.join(known)}")
    if not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
        raise OutputError(problem, hint="make it first, or save elsewhere")


def _save(figure: Any, save: str | Path) -> None:
    try:
        figure.savefig(save, dpi=DPI, bbox_inches="tight", pad_inches=PAD)
    except OSError as error:
        problem = f"cannot write {save}: {error.strerror or error}"
        raise OutputError(problem, hint="mend that, or save elsewhere") from error


def _wrap(axes: Any) -> None:
    """Break long names of ticks and of the legend into lines."""
    for axis in (axes.xaxis, axes.yaxis):
        names = [label.get_text() for label in axis.get_ticklabels()]
        if any(len(name) > WRAP for name in names):
            axis.set_ticklabels([textwrap.fill(name, WRAP) for name in names])
    legend = axes.get_legend()
    for text in legend.get_texts() if legend else ():
        text.set_text(textwrap.fill(text.get_text(), WRAP))
    for where in ("left", "center", "right"):
        title = axes.get_title(loc=where)
        if len(title) > 2 * WRAP:
            axes.set_title(textwrap.fill(title, 2 * WRAP), loc=where, fontsize="medium")


def _grow(figure: Any, axes: Any) -> None:
    """Give the figure the size of all that is drawn; the axes keep theirs."""
    figure.canvas.draw()
    inner, outer = axes.get_window_extent(), axes.get_tightbbox()
    dots = figure.dpi
    wide, tall = inner.width / dots, inner.height / dots
    left, below = (inner.x0 - outer.x0) / dots + PAD, (inner.y0 - outer.y0) / dots + PAD
    width = left + wide + (outer.x1 - inner.x1) / dots + PAD
    height = below + tall + (outer.y1 - inner.y1) / dots + PAD
    figure.set_size_inches(width, height)
    axes.set_position((left / width, below / height, wide / width, tall / height))


def _has_windows() -> bool:
    """Whether the backend shows figures by itself; a notebook's shows them without being asked."""
    matplotlib = needed("matplotlib")
    backends = needed("matplotlib.backends")
    interactive = backends.backend_registry.list_builtin(backends.BackendFilter.INTERACTIVE)
    return matplotlib.get_backend().casefold() in {name.casefold() for name in interactive}
