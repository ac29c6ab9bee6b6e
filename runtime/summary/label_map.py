"""A label map: what the labels of a data set are called in the texts, as `c2t evaluate` reads it.

A table (.csv, .tsv) with columns label and name, and if wanted use (yes or no); or JSON,
{"CD14+ Mono": "CD14-positive monocyte"}, or by field: {"cell_type": {"labels": {...}}}.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import ReportError

# A map has a line for each label of a data set, which makes kilobytes.
LABEL_MAP_BYTES_MAX = 64 << 20
HINT = 'give JSON such as {"CD14+ Mono": "CD14-positive monocyte"}, or a .csv or .tsv table'
TABLE_HINT = "give columns label and name, and use (yes or no) where a line may be left out"
TABLES = {".csv": ",", ".tsv": "\t"}
_YES, _NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")


class _FieldMap(msgspec.Struct, frozen=True):
    """The map of one field; what else it says is for `c2t evaluate`."""

    labels: dict[str, str] = {}


def read_label_map(path: Path, field: str = "cell_type") -> dict[str, str]:
    """Read the map of one field; a table is one of cell types.

    Args:
        path: The file.
        field: The field whose labels are wanted.

    Raises:
        ReportError: The file is missing, is no such map, or has none for the field.
    """
    table = path.suffix.lower() in TABLES
    hint = TABLE_HINT if table else HINT
    content = read_bounded(
        path, bytes_max=LABEL_MAP_BYTES_MAX, error=ReportError, hint=hint, what="a label map"
    )
    found = _of_table(path, content) if table else _of_json(path, content, field)
    if not found:
        problem = f"{path} maps no label of the field {field}"
        raise ReportError(problem, hint=hint)
    return found


def _of_json(path: Path, content: bytes, field: str) -> dict[str, str]:
    document = decode_json(
        content,
        dict[str, str | _FieldMap],
        name=path,
        error=ReportError,
        hint=HINT,
        what="a label map",
    )
    labels = {name: value for name, value in document.items() if isinstance(value, str)}
    maps = {name: value for name, value in document.items() if isinstance(value, _FieldMap)}
    if labels and maps:
        problem = f"{path} is not a label map: {next(iter(labels))!r} is a label among fields"
        raise ReportError(problem, hint=HINT)
    return maps[field].labels if field in maps else labels


def _of_table(path: Path, content: bytes) -> dict[str, str]:
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write a mark in front
        head = next(iter(text.splitlines()), "")
        # Spreadsheets of many countries write semicolons into .csv files.
        marks = dict.fromkeys((TABLES[path.suffix.lower()], ";", "\t", ","))
        mark = next((m for m in marks if {"label", "name"} <= set(_columns(head, m))), None)
        if mark is None:
            problem = f"the label map {path} has no columns label and name"
            raise ReportError(problem, hint=TABLE_HINT)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except (UnicodeDecodeError, csv.Error) as error:
        problem = f"the label map {path} cannot be read as a table: {error}"
        raise ReportError(problem, hint=TABLE_HINT) from error
    columns = _columns(head, mark)
    found: dict[str, str] = {}
    seen: set[str] = set()
    for number, values in enumerate(rows[1:], 2):
        if not any(value.strip() for value in values):
            continue
        row = dict(zip(columns, values, strict=False))
        label, name = row.get("label", ""), row.get("name", "").strip()
        use = row.get("use", "yes").strip().lower()
        wrong = (
            "has no label"
            if not label
            else f"has the label {label!r} again"
            if label in seen
            else f"has {use!r} in the column use"
            if use not in (*_YES, *_NO)
            else f"has no name for {label!r}"
            if not name and use in _YES
            else ""
        )
        if wrong:
            problem = f"line {number} of the label map {path} {wrong}"
            raise ReportError(problem, hint=TABLE_HINT)
        seen.add(label)
        if use in _YES:
            found[label] = name
    return found


def _columns(head: str, mark: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([head], delimiter=mark), [])]
