"""The JSON schemas of the site, and whether a document fits one."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

import c2t

SITE = Path(c2t.__file__).parent / "docs" / "site"


@cache
def schema_of(name: str) -> dict[str, Any]:
    """The schema of a format, by its name among `reference_formats.FORMATS`."""
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))  # the scripts import each other by their names
    from reference_formats import FORMATS, schema

    return schema(next(form for form in FORMATS if form.name == name))


def validate(document: Any, name: str) -> None:
    """Refuse a document, or the path of one, that does not fit the schema of a format."""
    jsonschema = pytest.importorskip("jsonschema")
    if isinstance(document, Path):
        document = msgspec.json.decode(document.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema_of(name))
    jsonschema.Draft202012Validator(schema_of(name)).validate(document)
