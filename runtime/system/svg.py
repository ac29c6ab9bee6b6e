"""The one writer of pictures: SVG without a plotting library.

Labels come from strangers' files. Only what this module made is markup; all other text is escaped.
Points and sizes are (x, y) and (width, height) in pixels, with y downwards from the top.

One decision: a picture grows until all of its texts lie inside. How wide a text is only the viewer
knows, so widths are estimated from `text_width`, for the widest of the usual fonts.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias

INK, GREY, LINE = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, AMBER, SILVER = "#2563eb", "#d97706", "#9ca3af"

FONT_SIZE = 12.5  # the largest height of letters that a picture has by default
LINE_HEIGHT = 1.2  # from one line to the next, in heights of letters

Pair: TypeAlias = tuple[float, float]
Attributes: TypeAlias = Mapping[str, "str | int | float"]


class Markup(str):
    """Text that is markup already, and is never escaped again."""

    __slots__ = ()

    def __html__(self) -> str:
        """What template engines take as it is."""
        return self


class _Text(Markup):
    """A text with the box that it may fill: left, top, right, bottom."""

    box: tuple[float, float, float, float]


# Widths of characters in heights of letters, for DejaVu Sans and Verdana; others are narrower.
_WIDTHS = {
    **dict.fromkeys("iljI.,;:'|!`", 0.41),
    **dict.fromkeys(" ftr()[]{}/\\-", 0.47),
    **dict.fromkeys("mwMW@%", 1.02),
    **dict.fromkeys("+=<>~#^_*$&", 0.85),
}
_LOWER, _UPPER, _OTHER, _BROAD = 0.66, 0.82, 0.95, 1.4
_BOLD = 1.12


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """Most pixels that a line of text may take.

    Args:
        words: The line.
        size: Height of its letters.
        bold: In bold letters.
    """
    return sum(map(_character_width, words)) * size * (_BOLD if bold else 1)


def wrapped(words: str, width: float, size: float) -> list[str]:
    """A text in lines that are no wider than `width` pixels, broken between words if possible."""
    lines, line = [], ""
    for piece in _pieces(words, width, size):
        if line and text_width((line + piece).rstrip(), size) > width:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


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
    written = _Text(element("text", place, *_title(title), words))
    written.box = _box(words, at, anchor, size or FONT_SIZE, bold=bold, turned=turned)
    return written


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
        size: Width and height; larger if a text needs it.
        marks: Later ones lie on top of earlier ones.
        font_size: Height of letters that have no size of their own.
        whole_file: As a file that stands alone, on white; else as a part of a page.
    """
    boxes = [mark.box for mark in marks if isinstance(mark, _Text)]
    left, top = (math.floor(min((box[i] for box in boxes), default=0)) for i in (0, 1))
    right, bottom = (math.ceil(max((box[i] for box in boxes), default=0)) for i in (2, 3))
    left, top = min(left, 0), min(top, 0)
    width, height = max(round(size[0]), right) - left, max(round(size[1]), bottom) - top
    root: dict[str, str | float] = {"xmlns": "http://www.w3.org/2000/svg"} if whole_file else {}
    root |= {"width": width, "height": height, "role": "img"}
    root["viewBox"] = f"{left} {top} {width} {height}"
    root["font-size"] = font_size
    if not whole_file:
        return element("svg", root, *marks)
    root["font-family"] = "system-ui, sans-serif"
    paper = element(
        "rect", {"x": left, "y": top, "width": width, "height": height, "fill": "#ffffff"}
    )
    lines = [Markup(f"\n{mark}") for mark in (paper, *marks)]
    return Markup(element("svg", root, *lines, Markup("\n")) + "\n")


def _title(words: str) -> list[Markup]:
    return [element("title", None, words)] if words else []


def _written(value: str | float) -> str:
    """A number with no more digits than a picture needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _pieces(words: str, width: float, size: float) -> list[str]:
    """Words with the mark behind them at which a line may end; those that are too long in parts."""
    pieces: list[str] = []
    piece = ""
    for character in words:
        if text_width(piece + character, size) > width and piece.strip():
            pieces.append(piece)
            piece = ""
        piece += character
        if character in " -/,_":
            pieces.append(piece)
            piece = ""
    return [*pieces, piece] if piece else pieces


def _character_width(character: str) -> float:
    known = _WIDTHS.get(character)
    if known is not None:
        return known
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF" or ord(character) > 0xFFFF:
        return _BROAD
    if ord(character) > 0x24F:
        return _OTHER
    return _UPPER if character.isupper() else _LOWER


def _box(
    words: str, at: Pair, anchor: str, size: float, *, bold: bool, turned: float
) -> tuple[float, float, float, float]:
    """Where a text may lie."""
    width = text_width(words, size, bold=bold)
    begin = {"start": 0.0, "middle": -width / 2, "end": -width}[anchor]
    angle = math.radians(turned)
    xs, ys = [], []
    for x in (begin, begin + width):
        for y in (-size, size * 0.3):  # above and below the base line
            xs.append(at[0] + x * math.cos(angle) - y * math.sin(angle))
            ys.append(at[1] + x * math.sin(angle) + y * math.cos(angle))
    return min(xs), min(ys), max(xs), max(ys)
