"""The pages about files in JSON, and their schemas: made from the classes that read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

import msgspec
from field_notes import about, field_notes

from c2t.calibration.results.calibration import CalibrationReport
from c2t.runtime.annotate.calibration import Calibration
from c2t.runtime.audit.line import _Written as AuditLine
from c2t.runtime.bundle.bundle import GoldenCells
from c2t.runtime.bundle.manifest import Manifest
from c2t.runtime.bundle.unsure_rule import UnsureRule
from c2t.runtime.fields.rules import FieldRules
from c2t.runtime.joint.golden import GoldenVectors
from c2t.runtime.output.parts.manifest import PartsManifest
from c2t.runtime.qualify.report import Report

_INTRODUCTION = """\
# Files in JSON

Each page lists the fields, and leads to a JSON schema. Both are made from the class that reads or
writes the file.
"""
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Format:
    """A file in JSON.

    Attributes:
        name: Of the page and of the schema.
        title: The page's heading.
        kind: The class that the file is read into, or written from.
        said: What a reader must know before the fields.
        strict: Whether a field that the class does not have is refused.
        with_nan: Whether a number may be NaN, which JSON writes as null.
    """

    name: str
    title: str
    kind: type
    said: str
    strict: bool = False
    with_nan: bool = False


FORMATS = (
    Format(
        "manifest",
        "manifest.json of a bundle",
        Manifest,
        "See [the bundle format](../bundle-format.md). Unknown fields are refused.",
        strict=True,
    ),
    Format(
        "golden",
        "golden.json of a bundle",
        GoldenCells,
        "The golden cells: `c2t verify` describes them again and compares the texts.",
    ),
    Format(
        "golden-vectors",
        "golden_vectors.json of a bundle with a joint space",
        GoldenVectors,
        "What `c2t verify` computes again there: see [search](../../how-to/search.md).",
    ),
    Format(
        "fields",
        "fields.json of a bundle",
        FieldRules,
        "How fields are read from a text: see [fields](../../how-to/fields.md).",
    ),
    Format(
        "unsure",
        "unsure.json of a bundle",
        UnsureRule,
        "When a cell type is unsure: see [how sure](../../how-to/unsure.md).",
    ),
    Format(
        "calibration",
        "calibration.json of an INT8 bundle",
        CalibrationReport,
        "What `c2t calibrate` did and found: see [INT8 and its gate](../../explanation/int8.md). "
        "A number that is NaN is `null`.",
        with_nan=True,
    ),
    Format(
        "label-calibration",
        "Calibration of labels",
        Calibration,
        "What `c2t annotate --calibrate-on` writes and `--calibration` reads.",
    ),
    Format(
        "parts",
        "manifest.json of a folder of parts",
        PartsManifest,
        "Written last: a folder without it is not finished. See [atlases](../../how-to/atlas.md).",
    ),
    Format(
        "audit",
        "A line of an audit trail",
        AuditLine,
        "Before these stands `mac`: a keyed code (HMAC-SHA-256, 64 hexadecimal digits) over the "
        "very bytes that follow it. `previous` is that of the line before.",
    ),
    Format(
        "qualification",
        "report.json of a qualification",
        Report,
        "What `c2t verify BUNDLE --report FOLDER` writes.",
    ),
)


def schema(form: Format) -> dict[str, Any]:
    """The JSON schema (2020-12) of a format."""
    (root,), parts = msgspec.json.schema_components([form.kind], ref_template="#/$defs/{name}")
    kinds = {kind.__name__: kind for kind in _kinds(form.kind)}
    for name, part in parts.items():
        kind = kinds.get(name)
        if kind is None:
            continue
        part["description"] = about(kind)
        notes = _by_written_name(kind)
        for field, entry in part.get("properties", {}).items():
            if field in notes:
                entry["description"] = notes[field]
        if form.strict and "properties" in part:
            part["additionalProperties"] = False
    whole = {"$schema": SCHEMA, "title": form.title, **root, "$defs": parts}
    return _or_null(whole) if form.with_nan else whole


def _or_null(part: Any) -> Any:
    """The same schema, whose numbers may be null."""
    if isinstance(part, list):
        return [_or_null(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    changed = {name: _or_null(inner) for name, inner in part.items()}
    if changed.get("type") == "number":
        changed["type"] = ["number", "null"]
    return changed


def schema_files() -> dict[str, str]:
    """All schemas as files, by name."""
    return {
        f"reference/formats/{form.name}.schema.json": json.dumps(schema(form), indent=1) + "\n"
        for form in FORMATS
    }


def format_pages() -> dict[str, str]:
    """A page for each format, and one that lists them; by name."""
    pages = {}
    lines = [_INTRODUCTION]
    for form in FORMATS:
        lines.append(f"- [{form.title}]({form.name}.md)")
        parts = [f"# {form.title}", form.said]
        parts.append(f"{{download}}`JSON schema <{form.name}.schema.json>`")
        parts += [_section(kind) for kind in _kinds(form.kind)]
        pages[f"reference/formats/{form.name}.md"] = "\n\n".join(parts) + "\n"
    lines += ["", "```{toctree}", ":hidden:", ":glob:", "", "*", "```", ""]
    pages["reference/formats/index.md"] = "\n".join(lines)
    return pages


def _section(kind: type) -> str:
    notes = _by_written_name(kind)
    lines = [f"## {kind.__name__.lstrip('_')}", "", about(kind), ""]
    info = msgspec.inspect.type_info(kind)
    if tag := getattr(info, "tag_field", None):
        lines.append(f"- `{tag}`: `{info.tag}`")
    for field in info.fields:
        words = [_type_words(field.type)]
        if not field.required:
            words.append("may be left out")
        note = notes.get(field.encode_name)
        said = f": {_escaped(note)}" if note else ""
        lines.append(f"- `{field.encode_name}` ({', '.join(words)}){said}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[").replace("<", r"\<").replace("*", r"\*")


def _by_written_name(kind: type) -> dict[str, str]:
    notes = field_notes(kind)
    fields = msgspec.inspect.type_info(kind).fields
    return {field.encode_name: notes[field.name] for field in fields if field.name in notes}


def _kinds(kind: type) -> list[type]:
    """A class and all those of its fields, each once, from the outside in."""
    found: dict[type, None] = {}

    def look(info: Any) -> None:
        inner = getattr(info, "cls", None)
        if isinstance(inner, type) and (is_dataclass(inner) or issubclass(inner, msgspec.Struct)):
            if inner in found:
                return
            found[inner] = None
            for field in info.fields:
                look(field.type)
            return
        for part in _parts(info):
            look(part)

    look(msgspec.inspect.type_info(kind))
    return list(found)


def _parts(info: Any) -> Iterator[Any]:
    for name in ("item_type", "key_type", "value_type"):
        if (part := getattr(info, name, None)) is not None:
            yield part
    for name in ("item_types", "types"):
        yield from getattr(info, name, ())


_NAMES = {
    "IntType": "whole number",
    "FloatType": "number",
    "StrType": "text",
    "BoolType": "true or false",
    "NoneType": "null",
    "AnyType": "anything",
    "DecimalType": "number",
}


def _type_words(info: Any) -> str:
    kind = type(info).__name__
    if kind in _NAMES:
        return _NAMES[kind]
    if kind == "UnionType":
        return " or ".join(_type_words(part) for part in info.types)
    if kind == "LiteralType":
        return " or ".join(f"`{value}`" for value in info.values)
    if kind == "EnumType":
        return " or ".join(f"`{member.value}`" for member in info.cls)
    if kind == "DictType":
        return f"object of {_type_words(info.value_type)}"
    if kind == "TupleType":
        return f"list: {', '.join(_type_words(part) for part in info.item_types)}"
    if hasattr(info, "item_type"):
        return f"list of {_type_words(info.item_type)}"
    inner = getattr(info, "cls", None)
    return f"`{inner.__name__.lstrip('_')}`" if isinstance(inner, type) else kind
