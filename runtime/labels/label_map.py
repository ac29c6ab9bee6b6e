"""Reads label maps: what the labels of a data set are called in captions.

Each data set has its own names ("CD14+ Mono"); captions use one name for each kind of cell. A table
(.csv, .tsv) has a line for each label, as `--propose-label-map` writes it: columns label and name,
and if wanted ontology_id and use (yes or no). JSON maps them for the cell type alone,
{"CD14+ Mono": "CD14-positive monocyte"}, or by field:

    {"cell_type": {"labels": {"CD14+ Mono": "CD14-positive monocyte"},
                   "terms": {"CD14-positive monocyte": "CL:0001054"}},
     "tissue": {"every_cell": "blood"}}

One decision: what may be a slip is refused: a label twice, without a name, or that no cell has.
Several labels may have one name; who wrote the map decides that.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.system.checked_read import decode_json, read_bounded
from c2t.runtime.system.errors import EvaluationError

FIELDS = ("cell_type", "tissue", "disease", "sex", "age")
# A map has a line for each label of a data set, which makes kilobytes.
LABEL_MAP_BYTES_MAX = 64 << 20
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}
LABEL, NAME, TERM, USE, WHY = "label", "name", "ontology_id", "use", "why"
UNKNOWN = {"", "unknown", "na", "nan"}  # in lower case: values that are no label
ASSIGNED = "assignment"  # in the column why: the name was assigned on counts
_YES, _NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")
_JSON_HINT = 'give JSON such as {"CD14+ Mono": "CD14-positive monocyte"}, or a .csv or .tsv table'
_TABLE_HINT = "give columns label and name, as `c2t evaluate --propose-label-map` writes them"


class FieldMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The map of one field.

    Args:
        labels: Label of the data set -> name that captions use; other labels stay as they are.
        terms: Name that captions use -> id of its term, where the ontology has another name.
        every_cell: Label of all cells, for a file without a column for the field.
        assigned: Labels whose names were assigned on counts: figures rest on those.
    """

    labels: dict[str, str] = {}
    terms: dict[str, str] = {}
    every_cell: str | None = None
    assigned: tuple[str, ...] = ()


def read_label_map(path: Path | None) -> dict[str, FieldMap]:
    """Read a label map; field -> its map.

    Raises:
        EvaluationError: The file is missing, not such a map, empty, or names a label twice.
    """
    if path is None:
        return {}
    table = path.suffix.lower() in TABLE_SUFFIXES
    hint = _TABLE_HINT if table else _JSON_HINT
    content = read_bounded(
        path, bytes_max=LABEL_MAP_BYTES_MAX, error=EvaluationError, hint=hint, what="a label map"
    )
    maps = _of_table(path, content) if table else _of_json(path, content)
    if not any(m.labels or m.every_cell is not None for m in maps.values()):
        problem = f"the label map {path} names no label"
        raise EvaluationError(problem, hint=hint)
    return maps


def cell_type_names(path: Path) -> dict[str, str]:
    """What a label map calls the cell types: label of the data set -> name.

    Raises:
        EvaluationError: As `read_label_map`; or it has no names of cell types.
    """
    names = read_label_map(path).get("cell_type", FieldMap()).labels
    if not names:
        problem = f"the label map {path} names no cell type"
        raise EvaluationError(problem, hint=_JSON_HINT)
    return names


def check_known(labels: Iterable[str], known: set[str], *, column: str) -> None:
    """Refuse a map with labels that no cell has.

    Args:
        labels: Those of the map.
        known: Those of the file.
        column: Where the file has them.

    Raises:
        EvaluationError: Names the first few.
    """
    unknown = sorted(set(labels) - known)
    if unknown:
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        names = ", ".join(f"`{label}`" for label in unknown[:3])
        problem = f"no cell has the label {names}{more} of the label map in {column!r}"
        shown = ", ".join(f"`{label}`" for label in sorted(known)[:5])
        raise EvaluationError(problem, hint=f"remove or mend its line; the file's labels: {shown}")


def _of_json(path: Path, content: bytes) -> dict[str, FieldMap]:
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in items]
        twice.extend(name for name in names if names.count(name) > 1)

    document = decode_json(
        content,
        dict[str, str | FieldMap],
        name=path,
        error=EvaluationError,
        hint=_JSON_HINT,
        what="a label map",
    )
    json.loads(content, object_pairs_hook=pairs)  # a decoder keeps the last of two in silence
    if twice:
        problem = f"the label map {path} has {twice[0]!r} twice"
        raise EvaluationError(problem, hint="leave one of them")
    labels = {name: value for name, value in document.items() if isinstance(value, str)}
    maps = {name: value for name, value in document.items() if isinstance(value, FieldMap)}
    if not maps:
        maps = {"cell_type": FieldMap(labels=labels)}
    elif labels:
        problem = f"{path} is not a label map: {next(iter(labels))!r} is a label among fields"
        raise EvaluationError(problem, hint=_JSON_HINT)
    unknown = sorted(set(maps).difference(FIELDS))
    if unknown:
        problem = f"{path} has maps for {', '.join(unknown)}"
        raise EvaluationError(problem, hint=f"the fields are: {', '.join(FIELDS)}")
    for field in maps.values():
        empty = next((label for label, name in field.labels.items() if not name.strip()), None)
        if empty is not None:
            problem = f"the label map {path} has no name for {empty!r}"
            raise EvaluationError(problem, hint="write a name, or leave the label out")
    return maps


def _of_table(path: Path, content: bytes) -> dict[str, FieldMap]:
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write a mark in front
    except UnicodeDecodeError as error:
        problem = f"the label map {path} is no UTF-8 text: {error}"
        raise EvaluationError(problem, hint="save it as UTF-8") from error
    head = next(iter(text.splitlines()), "")
    # Spreadsheets of many countries write semicolons into .csv files.
    marks = dict.fromkeys((TABLE_SUFFIXES[path.suffix.lower()], ";", "\t", ","))
    mark = next((m for m in marks if {LABEL, NAME} <= set(_columns(head, m))), None)
    if mark is None:
        problem = f"the label map {path} has no columns {LABEL} and {NAME}"
        raise EvaluationError(problem, hint=_TABLE_HINT)
    columns = _columns(head, mark)
    labels: dict[str, str] = {}
    terms: dict[str, str] = {}
    assigned = []
    seen: set[str] = set()
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except csv.Error as error:
        problem = f"the label map {path} cannot be read as a table: {error}"
        raise EvaluationError(problem, hint=_TABLE_HINT) from error
    for number, values in enumerate(rows[1:], 2):
        if not any(value.strip() for value in values):
            continue
        row = dict(zip(columns, values, strict=False))
        slip = _slip(row, seen, terms)
        if slip is not None:
            problem = f"line {number} of the label map {path} {slip[0]}"
            raise EvaluationError(problem, hint=slip[1])
        seen.add(row[LABEL])
        if _used(row) in _NO:
            continue
        labels[row[LABEL]] = name = row[NAME].strip()
        if row.get(TERM, "").strip():
            terms[name] = row[TERM].strip()
        if row.get(WHY, "") == ASSIGNED:
            assigned.append(row[LABEL])
    return {"cell_type": FieldMap(labels=labels, terms=terms, assigned=tuple(assigned))}


def _columns(head: str, mark: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([head], delimiter=mark), [])]


def _used(row: dict[str, str]) -> str:
    return row.get(USE, "yes").strip().lower()


def _slip(row: dict[str, str], seen: set[str], terms: dict[str, str]) -> tuple[str, str] | None:
    """What is wrong with a line, and how to mend it; None if nothing is."""
    label, name, term = row.get(LABEL, ""), row.get(NAME, "").strip(), row.get(TERM, "").strip()
    if not label:
        return "has no label", "write the label as the file of cells has it"
    if label in seen:
        return f"has the label {label!r} again", "leave one line for each label"
    if _used(row) not in (*_YES, *_NO):
        return f"has {_used(row)!r} in the column {USE}", "write yes or no"
    if _used(row) in _NO:
        return None
    if not name:
        return f"has no name for {label!r}", f"write a name, or no in the column {USE}"
    if term and terms.get(name, term) != term:
        return f"has another {TERM} for {name!r}: {term}", "let a name mean one term"
    return None
