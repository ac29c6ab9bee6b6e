"""Files of evidence: the suffix of a file's name says what is written.

Tables have a row a gene, lines of JSON an object a cell or group. Provenance is in the schema's
metadata of Parquet; the other formats have no place for it that every reader skips.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.output.evidence.rows import Evidence, as_object, as_rows
from c2t.runtime.output.parquet import import_pyarrow
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.plain_newlines import PlainNewlines

# The file, what to write, its columns, the most genes of each, provenance.
Write = Callable[[Path, Iterable[Evidence], dict[str, str], int | None, dict[str, Any]], None]


def json_line(evidence: Evidence, top: int | None) -> bytes:
    """Evidence as a line of JSON, newline included."""
    return msgspec.json.encode(as_object(evidence, top)) + b"\n"


def _write_jsonl(
    path: Path,
    evidence: Iterable[Evidence],
    columns: dict[str, str],
    top: int | None,
    about: dict[str, Any],
) -> None:
    with path.open("wb") as stream:
        stream.writelines(json_line(one, top) for one in evidence)


def _write_csv(
    path: Path,
    evidence: Iterable[Evidence],
    columns: dict[str, str],
    top: int | None,
    about: dict[str, Any],
) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(PlainNewlines(stream))
        writer.writerow(columns)
        for one in evidence:
            writer.writerows([row[name] for name in columns] for row in as_rows(one, top))


def _write_parquet(
    path: Path,
    evidence: Iterable[Evidence],
    columns: dict[str, str],
    top: int | None,
    about: dict[str, Any],
) -> None:
    pyarrow, parquet = import_pyarrow()
    kinds = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "count": pyarrow.int64(),
        "truth": pyarrow.bool_(),
    }
    schema = pyarrow.schema(
        [(name, kinds[kind]) for name, kind in columns.items()],
        metadata={"c2t": msgspec.json.encode(about)},
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for one in evidence:
            writer.write_table(pyarrow.Table.from_pylist(list(as_rows(one, top)), schema=schema))


FORMATS: dict[str, Write] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}


def check_format(path: Path) -> Write:
    """What writes a file, before any cell is explained.

    Raises:
        OutputError: There is no such format, or its package is not installed.
    """
    if path.suffix not in FORMATS:
        problem = f"evidence cannot be written as {path.suffix or 'a file without a suffix'!r}"
        raise OutputError(problem, hint=f"name a file with one of {', '.join(FORMATS)}")
    if path.suffix == ".parquet":
        import_pyarrow()
    return FORMATS[path.suffix]
