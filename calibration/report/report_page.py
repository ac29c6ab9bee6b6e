"""What all report pages are made of: the frame of a page, sections, and tables of two columns.

A page forbids itself everything but its own styles, so that even a mistake in escaping could not
run anything (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Sequence

from c2t.calibration.report.html_elements import Markup, element, style_element
from c2t.calibration.report.page_style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, *parts: Markup | str) -> str:
    """A whole page that needs nothing else."""
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", None, title),
        style_element(STYLE),
    )
    body = element("body", None, element("main", None, *parts))
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def section(title: str, *parts: Markup | str) -> Markup:
    """A part of the page with its heading."""
    return element("section", None, element("h2", None, title), *parts)


def table(rows: Sequence[tuple[str, Markup | str]]) -> Markup:
    """Names and values."""
    lines = (
        element("tr", None, element("th", None, name), element("td", None, value))
        for name, value in rows
    )
    return element("table", None, *lines)
