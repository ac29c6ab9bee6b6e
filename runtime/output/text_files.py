"""Descriptions as plain text: JSON lines and CSV, written from a stream of records."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.output.record import Record, fields_of
from c2t.runtime.system.plain_newlines import PlainNewlines


def json_line(record: Record) -> bytes:
    """One record as a line of JSON, newline included."""
    return msgspec.json.encode({name: getattr(record, name) for name in record.fields}) + b"\n"


def write_jsonl(cells: Path, path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write one JSON object a line, UTF-8."""
    with path.open("wb") as stream:
        stream.writelines(json_line(record) for record in records)


def write_csv(cells: Path, path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write comma-separated values with a header line (RFC 4180, but with plain newlines).

    Values that hold commas, quotes or line breaks are quoted. Missing values are empty.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(PlainNewlines(stream))
        fields = fields_of(about)
        writer.writerow(fields)
        writer.writerows([_cell(getattr(record, name)) for name in fields] for record in records)


def _cell(value: Any) -> Any:
    """A value as CSV has it: true and false as in JSON, which R and pandas read as well."""
    return str(value).lower() if isinstance(value, bool) else value
