"""The pieces that a page is made of; all text that comes from outside is escaped here.

One decision: no template library, so that the lean install can write the page. `element` of
`c2t.runtime.system.svg` escapes everything but `Markup`, and `words` takes control characters out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from c2t.runtime.system.svg import Attributes, Markup, element
from c2t.runtime.system.text_tables import visible

NAME_MAX, TEXT_MAX = 120, 1200


def words(value: object, most: int = NAME_MAX) -> str:
    """A text of a file as it is shown: control characters as escapes, bounded in length."""
    text = visible(str(value)).strip()
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def count(number: int) -> str:
    """A number of cells."""
    return f"{number:,}"


def percent(share: float) -> str:
    """A share in percent, with a digit behind the point where it is small."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def tag(name: str, kind: str, *children: str) -> Markup:
    """An element with a class."""
    return element(name, {"class": kind}, *children)


def joined(parts: Iterable[str]) -> Markup:
    """Pieces of markup, one below the other."""
    return Markup("\n".join(parts))


def section(title: str, name: str, *children: str) -> Markup:
    """A part of the page with a heading, which the list of contents leads to."""
    heading = element("h2", {"id": name}, title)
    return element("section", {"aria-labelledby": name}, heading, *children)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    kind: str = "",
    numbers: Sequence[int] = (),
) -> Markup:
    """A table whose first column names its rows.

    Args:
        head: Names of the columns; empty: no heading line.
        rows: One value a column.
        caption: What it shows, for those who hear it.
        kind: Its class.
        numbers: Columns that are set to the right.
    """

    def cell(place: int, value: str) -> Markup:
        attributes: dict[str, str | int | float] = {"class": "number"} if place in numbers else {}
        if not place:
            return element("th", {"scope": "row", **attributes}, value)
        return element("td", attributes, value)

    def heading(place: int, name: str) -> Markup:
        attributes: dict[str, str | int | float] = {"class": "number"} if place in numbers else {}
        return element("th", {"scope": "col", **attributes}, name)

    parts = []
    if caption:
        parts.append(tag("caption", "aside", caption))
    if head:
        line = element("tr", None, *(heading(place, name) for place, name in enumerate(head)))
        parts.append(element("thead", None, line))
    lines = [
        element("tr", None, *(cell(place, value) for place, value in enumerate(row)))
        for row in rows
    ]
    parts.append(element("tbody", None, joined(lines)))
    # A wide table is scrolled by keys, too.
    made = element("table", {"class": kind} if kind else None, *parts)
    around: Attributes = {"class": "scroll", "tabindex": 0, "role": "region"}
    return element("div", {**around, "aria-label": caption or "table"}, made)
