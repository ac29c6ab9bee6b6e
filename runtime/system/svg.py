"""The one writer of pictures: SVG without a plotting library.

Labels come from strangers' files. Only what this module made is markup; all other text is escaped.
Points and sizes are (x, y) and (width, height) in pixels, with y downwards from the top.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TypeAlias

INK, GREY, LINE = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, AMBER, SILVER = "#2563eb", "#d97706", "#9ca3af"

Pair: TypeAlias = tuple[float, float]
Attributes: TypeAlias = Mapping[str, "str | int | float"]


class Markup(str):
    """Text that is markup already, and is never escaped again."""

    __slots__ = ()

    def __html__(self) -> str:
        """What template engines take as it is."""
        return self


def element(name: str, attributes: Attributes | None = None, *children: str) -> Markup:
    """Any element, with its attributes and children; everything but `Markup` is escaped."""
    given = "".join(
        f' {key}="{html.escape(_written(value))}"' for key, value in (attributes or {}).items()
    )
    if not children:
        return Markup(f"<{name}{given}/>")
    inner = "".join(
        child if isinstance(child, Markup) else html.escape(child) for child in children
    )
    return Markup(f"<{name}{given}>{inner}</{name}>")


def text(
    words: str,
    at: Pair,
    colour: str = INK,
    *,
    anchor: str = "start",
    size: float | None = None,
    bold: bool = False,
    turned: float = 0,
    title: str = "",
) -> Markup:
    """One line of text.

    Args:
        words: The line.
        at: Where its base line begins, ends or has its middle.
        anchor: Which of these `at` is: "start", "end" or "middle".
        size: Height of the letters; that of the picture by default.
        bold: In bold letters.
        turned: Degrees clockwise around `at`.
        title: Shown when the pointer rests on it.
    """
    place: dict[str, str | float] = {"x": at[0], "y": at[1], "fill": colour}
    if anchor != "start":
        place["text-anchor"] = anchor
    if size is not None:
        place["font-size"] = size
    if bold:
        place["font-weight"] = "bold"
    if turned:
        place["transform"] = f"rotate({_written(turned)} {_written(at[0])} {_written(at[1])})"
    return element("text", place, *_title(title), words)


def bar(at: Pair, size: Pair, colour: str, *, radius: float = 2, title: str = "") -> Markup:
    """A filled rectangle with round corners; `at` is its upper left corner."""
    box = {"x": at[0], "y": at[1], "width": size[0], "height": size[1]}
    return element("rect", {**box, "rx": radius, "fill": colour}, *_title(title))


def dot(at: Pair, radius: float, colour: str, *, title: str = "") -> Markup:
    """A filled circle."""
    place = {"cx": at[0], "cy": at[1], "r": radius}
    return element("circle", {**place, "fill": colour}, *_title(title))


def line(begin: Pair, end: Pair, colour: str = LINE) -> Markup:
    """A straight line of one pixel's width."""
    ends = {"x1": begin[0], "y1": begin[1], "x2": end[0], "y2": end[1]}
    return element("line", {**ends, "stroke": colour})


def picture(
    size: Pair, marks: Sequence[Markup], *, font_size: float = 12, whole_file: bool = False
) -> Markup:
    """The marks as one picture.

    Args:
        size: Width and height.
        marks: Later ones lie on top of earlier ones.
        font_size: Height of letters that have no size of their own.
        whole_file: As a file that stands alone, on white; else as a part of a page.
    """
    width, height = round(size[0]), round(size[1])
    root: dict[str, str | float] = {"xmlns": "http://www.w3.org/2000/svg"} if whole_file else {}
    root |= {"width": width, "height": height, "viewBox": f"0 0 {width} {height}", "role": "img"}
    root["font-size"] = font_size
    if not whole_file:
        return element("svg", root, *marks)
    root["font-family"] = "system-ui, sans-serif"
    paper = element("rect", {"width": width, "height": height, "fill": "#ffffff"})
    lines = [Markup(f"\n{mark}") for mark in (paper, *marks)]
    return Markup(element("svg", root, *lines, Markup("\n")) + "\n")


def _title(words: str) -> list[Markup]:
    return [element("title", None, words)] if words else []


def _written(value: str | float) -> str:
    """A number with no more digits than a picture needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
