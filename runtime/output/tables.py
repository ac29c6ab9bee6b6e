"""Tables of descriptions: JSON lines, CSV, Parquet, each written from a stream of records."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.output.record import FIELDS, Record
from c2t.runtime.system.errors import OutputError

ROW_GROUP = 16_384  # records of one Parquet row group: some tens of megabytes of text at most


def json_line(record: Record) -> bytes:
    """One record as a line of JSON, newline included."""
    return msgspec.json.encode({name: getattr(record, name) for name in FIELDS}) + b"\n"


def write_jsonl(path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write one JSON object a line, UTF-8."""
    with path.open("wb") as stream:
        stream.writelines(json_line(record) for record in records)


def write_csv(path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write comma-separated values with a header line (RFC 4180, but with plain newlines).

    Values that hold commas, quotes or line breaks are quoted. Missing values are empty.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows([getattr(record, name) for name in FIELDS] for record in records)


def write_parquet(path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write Parquet; `about` goes into the schema's metadata under the key `c2t`, as JSON.

    Raises:
        OutputError: pyarrow is not installed.
    """
    pyarrow, parquet = import_pyarrow()
    text, number = pyarrow.string(), pyarrow.float64()
    kinds = (text, text, number, number, pyarrow.int32(), text)
    schema = pyarrow.schema(
        list(zip(FIELDS, kinds, strict=True)), metadata={"c2t": msgspec.json.encode(about)}
    )
    stream = iter(records)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(stream, ROW_GROUP)):
            columns = {name: [getattr(record, name) for record in group] for name in FIELDS}
            writer.write_table(pyarrow.table(columns, schema=schema))


def import_pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and its Parquet part.

    Raises:
        OutputError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        problem = f"a .parquet file needs pyarrow, which cannot be imported: {error}"
        hint = 'run `pip install "c2t[parquet]"`, or write .jsonl or .csv'
        raise OutputError(problem, hint=hint) from error
    return pyarrow, pyarrow.parquet


TableWriter = Callable[[Path, Iterable[Record], dict[str, Any]], None]
TABLES: dict[str, TableWriter] = {
    ".jsonl": write_jsonl,
    ".csv": write_csv,
    ".parquet": write_parquet,
}
