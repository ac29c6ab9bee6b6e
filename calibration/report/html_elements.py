"""HTML and SVG elements that escape whatever they are given, so that no page has to think of it.

Cell names, labels and texts come from strangers' files: only what `element` made is markup.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TypeAlias

_VOID = frozenset({"meta", "br"})


class Markup(str):
    """Text that is markup already; only this module makes it."""

    __slots__ = ()


Child: TypeAlias = "str | int | Markup"
Attributes: TypeAlias = Mapping[str, "str | int | float"]


def element(name: str, attributes: Attributes | None = None, *children: Child) -> Markup:
    """An element with its attributes and children; everything but `Markup` is escaped."""
    given = "".join(
        f' {key}="{html.escape(_written(value))}"' for key, value in (attributes or {}).items()
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    inner = "".join(
        child if isinstance(child, Markup) else html.escape(str(child)) for child in children
    )
    return Markup(f"<{name}{given}>{inner}</{name}>")


def style_element(sheet: str) -> Markup:
    """A style sheet of the program's own: browsers do not unescape what stands in one."""
    if "<" in sheet:
        message = "a style sheet cannot hold markup"
        raise ValueError(message)
    return Markup(f"<style>{sheet}</style>")


def _written(value: str | float) -> str:
    """A number with no more digits than a picture needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
