"""Renders the HTML pages of reports from the templates beside this file.

One decision: a page needs nothing else, and can do nothing else. Its style sheet and pictures are
inline, and its Content-Security-Policy forbids scripts and addresses. Cell names, labels and texts
come from strangers' files; Jinja escapes them all.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A whole page.

    Args:
        template: Name of the template.
        values: What it shows; everything but SVG pictures is escaped.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,  # a name that a template misspells is a bug
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
