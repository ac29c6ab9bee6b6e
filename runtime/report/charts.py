"""The pictures of the page: the scatter of the cells, histograms, and the matrix of labels.

One decision: pictures take their colours of text and lines from the page (`currentColor`, custom
properties), so that one picture is right on light, on dark and on printed paper.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.report.html import count, joined, percent, tag, words
from c2t.runtime.summary.categories import SPECIAL, Categories, cells_words
from c2t.runtime.summary.cross_table import CrossTable
from c2t.runtime.summary.palette import COLOURS, GREY, colour
from c2t.runtime.summary.plane import FloatArray, number_places
from c2t.runtime.system.png import indexed_png
from c2t.runtime.system.svg import Attributes, Markup, bar, element, line, picture, text

WIDTH, HEIGHT, MARGIN = 640, 560, 14
POINTS_MAX = 20_000  # more become a picture of pixels: their shapes would take megabytes
_PIXELS = 2  # of the picture, for each of the page
_SEED = 20240731
BINS = 20
# Where a histogram begins, and into how many parts its scale is parted: all are round numbers.
_SCALES = ((0.9, 5), (0.8, 4), (0.5, 5), (0.0, 5))


def scatter(
    places: FloatArray, groups: Categories, *, title: str, grey: NDArray[np.bool_] | None = None
) -> Markup:
    """The cells as points in the colours of their types, and the types' numbers.

    Args:
        places: [cells, 2], NaN for a cell without one.
        groups: Each cell's group; those of code -1 are grey.
        title: What it shows, in words.
        grey: [cells] those that are grey whatever their group; None: none.
    """
    at = _fitted(places)
    drawn = groups if grey is None else replace(groups, codes=np.where(grey, -1, groups.codes))
    marks = [_pixels(at, drawn)] if len(at) > POINTS_MAX else _points(at, drawn)
    numbered = np.where(groups.codes < min(groups.types, len(COLOURS)), groups.codes, -1)
    for number, place in enumerate(number_places(at, numbered, least=19)):
        if np.isfinite(place).all():
            x, y = float(np.clip(place[0], 9, WIDTH - 9)), float(np.clip(place[1], 12, HEIGHT - 6))
            where: Attributes = {"x": x, "y": y + 4.5, "class": "on-cells"}
            marks.append(element("text", where, str(number + 1)))
    return _picture((WIDTH, HEIGHT), marks, title)


def legend(groups: Categories, left_out: int, unsure: int = 0) -> Markup:
    """A line for each group: its number and colour, its whole name, cells and share.

    Args:
        groups: Each cell's group.
        left_out: How many types have no colour.
        unsure: How many cells of these groups are drawn in grey.
    """
    lines = []
    for number, (label, cells) in enumerate(
        zip(groups.labels, groups.counts.tolist(), strict=True)
    ):
        is_type = label not in SPECIAL
        mark = swatch(number if is_type else -1, str(number + 1) if is_type else "")
        share = tag("span", "aside", f"{count(cells)} · {percent(groups.share(number))}")
        lines.append(element("li", None, mark, tag("span", "name", words(label)), share))
    if left_out:
        rest = len(groups.codes) - int(groups.counts.sum())
        share = tag("span", "aside", f"{count(rest)} · {percent(rest / len(groups.codes))}")
        name = tag("span", "name", f"{left_out:,} rarer type{'s' * (left_out != 1)}")
        lines.append(element("li", None, swatch(-1, ""), name, share))
    if unsure:
        share = tag("span", "aside", f"{count(unsure)} · {percent(unsure / len(groups.codes))}")
        name = tag("span", "name", "of these unsure, drawn in grey")
        lines.append(element("li", None, swatch(-1, ""), name, share))
    return element("ul", {"class": "legend"}, joined(lines))


def swatch(number: int, said: str) -> Markup:
    """A type's colour with its number on it."""
    return element(
        "span",
        {"class": "swatch", "style": f"background:{colour(number)};color:{ink_on(colour(number))}"},
        said,
    )


def histogram(values: NDArray[np.float64], *, title: str) -> Markup:
    """How many cells have which confidence, from a round number below the lowest to 1."""
    values = values[np.isfinite(values)]
    least = float(values.min()) if len(values) else 0.0
    low, ticks = next(scale for scale in _SCALES if scale[0] <= least)
    counted, edges = np.histogram(values, bins=BINS, range=(low, 1))
    width, height, left, top = 420, 130, 52, 10
    step, most = (width - left - 12) / BINS, max(int(counted.max(initial=0)), 1)
    marks = [
        text(f"{most:,}", (left - 8, top + 9), "currentColor", anchor="end"),
        text("0", (left - 8, top + height), "currentColor", anchor="end"),
    ]
    for place, cells in enumerate(counted.tolist()):
        tall = height * cells / most
        at = left + step * place, top + height - tall
        said = f"{edges[place]:.3f} to {edges[place + 1]:.3f}: {cells_words(cells)}"
        marks.append(bar(at, (step - 2, tall), "var(--accent)", radius=1, title=said))
    base = top + height + 0.5
    marks.append(line((left - 4, base), (width - 12, base), "currentColor"))
    for place in range(ticks + 1):
        x, anchor = left + step * BINS * place / ticks, "end" if place == ticks else "middle"
        said = f"{low + (1 - low) * place / ticks:.3g}"
        marks.append(text(said, (x, base + 17), "currentColor", anchor=anchor))
    return _picture((width, base + 26), marks, title)


def matrix(compared: CrossTable, *, caption: str) -> Markup:
    """Shares of each own label's cells, by the described type: a table that is coloured.

    Whole labels: those of the columns stand upright, and wrap.
    """
    top = [element("th", {"scope": "col"}, "own label"), element("th", {"scope": "col"}, "cells")]
    for name in compared.columns:
        upright = tag("span", "upright", words(name))
        top.append(element("th", {"scope": "col", "class": "turned"}, upright))
    lines = []
    for name, counts, shares in zip(
        compared.rows, compared.counts.tolist(), compared.shares.tolist(), strict=True
    ):
        cells = [
            element("th", {"scope": "row"}, words(name)),
            tag("td", "number", count(sum(counts))),
        ]
        for number, share in zip(counts, shares, strict=True):
            cells.append(_shade(number, share))
        lines.append(element("tr", None, *cells))
    made = element(
        "table",
        {"class": "matrix"},
        tag("caption", "aside", caption),
        element("thead", None, element("tr", None, *top)),
        element("tbody", None, joined(lines)),
    )
    around: Attributes = {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": caption}
    return element("div", around, made)


def share_bar(share: float, number: int | None) -> Markup:
    """A share as a bar beside its figure, in the colour of a type; None: in that of the page."""
    paint = "var(--accent)" if number is None else colour(number)
    filled = f"width:{100 * share:.1f}%;background:{paint}"
    return tag("span", "track", element("span", {"class": "fill", "style": filled}, ""))


def ink_on(paper: str) -> str:
    """Black or white: what can be read better on a colour (WCAG's relative luminance)."""
    channels = [int(paper[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.0525 else "#ffffff"


def _shade(cells: int, share: float) -> Markup:
    if not cells:
        return tag("td", "none", "")
    kind = "much" if share > 0.55 else "some"
    said = f"{100 * share:.0f}" if share >= 0.005 else "<1"
    attributes = {"class": kind, "style": f"--share:{100 * (0.08 + 0.92 * share):.0f}%"}
    return element("td", {**attributes, "title": cells_words(cells)}, said)


def _fitted(places: FloatArray) -> FloatArray:
    """Places in pixels of the picture, y downwards."""
    at = np.full(places.shape, np.nan)
    seen = np.isfinite(places).all(axis=1)
    if not seen.any():
        return at
    low, high = places[seen].min(axis=0), places[seen].max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        room = np.where(high > low, high - low, 1.0)
        share = np.where(high > low, (places - low) / room, 0.5)
    at[:, 0] = MARGIN + share[:, 0] * (WIDTH - 2 * MARGIN)
    at[:, 1] = HEIGHT - MARGIN - share[:, 1] * (HEIGHT - 2 * MARGIN)
    at[~seen] = np.nan
    return at


def _colours(groups: Categories) -> list[str]:
    """The colour of each code; the last one is for cells of code -1."""
    return [
        *(colour(n) if label not in SPECIAL else GREY for n, label in enumerate(groups.labels)),
        GREY,
    ]


def _points(at: FloatArray, groups: Categories) -> list[Markup]:
    """A path of dots for each group; small groups lie on top of large ones."""
    seen, colours = np.isfinite(at).all(axis=1), _colours(groups)
    size = float(np.clip(260 / max(np.sqrt(len(at)), 1), 2.2, 8))
    order = [-1, *reversed(range(groups.types, len(groups.labels))), *range(groups.types)]
    marks = []
    for code in order:
        here = at[seen & (groups.codes == code)]
        if len(here):
            way = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in here.tolist())
            style = {"stroke": colours[code], "stroke-width": size, "stroke-linecap": "round"}
            marks.append(element("path", {"d": way, "fill": "none", **style}))
    return marks


def _pixels(at: FloatArray, groups: Categories) -> Markup:
    """The points as a picture of pixels, drawn in random order: no group hides another."""
    seen = np.flatnonzero(np.isfinite(at).all(axis=1))
    seen = np.random.default_rng(_SEED).permutation(seen)
    colours = _colours(groups)
    pixels = np.zeros((HEIGHT * _PIXELS, WIDTH * _PIXELS), np.uint8)
    code = np.where(groups.codes < 0, len(colours) - 1, groups.codes)[seen]
    value = np.minimum(code + 1, 255).astype(np.uint8)
    x, y = (at[seen] * _PIXELS).astype(np.int64).T
    for dy, dx in [(0, 0), (0, 1), (1, 0), (1, 1)] if len(at) > 200_000 else _DISC:
        pixels[y + dy, x + dx] = value
    content = base64.b64encode(indexed_png(pixels, colours)).decode("ascii")
    place: Attributes = {
        "width": WIDTH,
        "height": HEIGHT,
        "href": f"data:image/png;base64,{content}",
    }
    return element("image", place)


_DISC = [
    (y, x)
    for y in range(-1, 3)
    for x in range(-1, 3)
    if (y, x) not in ((-1, -1), (-1, 2), (2, -1), (2, 2))
]


def _picture(size: tuple[float, float], marks: Sequence[Markup], title: str) -> Markup:
    named = element("title", None, title)
    return picture(size, [named, *marks])
