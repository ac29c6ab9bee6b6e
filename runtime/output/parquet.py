"""Descriptions as a Parquet table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.output.record import FIELD_COLUMNS, FIELDS, UNSURE_FIELDS, Record, fields_of
from c2t.runtime.system.errors import OutputError, first_line

ROW_GROUP = 16_384  # records of one row group: some tens of megabytes of text at most


def write_parquet(
    cells: Path, path: Path, records: Iterable[Record], about: dict[str, Any]
) -> None:
    """Write Parquet, compressed; `about` goes into the schema's metadata (key `c2t`, JSON).

    Raises:
        OutputError: pyarrow is not installed.
    """
    pyarrow, parquet = import_pyarrow()
    text, number = pyarrow.string(), pyarrow.float64()
    kinds = [text, text, number, number, pyarrow.int32(), text, *([text] * len(FIELD_COLUMNS))]
    kind_of = dict(zip((*FIELDS, *UNSURE_FIELDS), (*kinds, number, pyarrow.bool_()), strict=True))
    fields = fields_of(about)
    schema = pyarrow.schema(
        [(name, kind_of[name]) for name in fields], metadata={"c2t": msgspec.json.encode(about)}
    )
    stream = iter(records)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(stream, ROW_GROUP)):
            columns = {name: [getattr(record, name) for record in group] for name in fields}
            writer.write_table(pyarrow.table(columns, schema=schema))


def read_parquet(path: Path, first: int = 0) -> Iterator[Record]:
    """Read what `write_parquet` wrote; the rows are numbered from `first` on.

    Raises:
        OutputError: It cannot be read, or pyarrow is not installed.
    """
    pyarrow, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            rows = itertools.count(first)
            there = set(file.schema_arrow.names)
            fields = [*FIELDS, *(name for name in UNSURE_FIELDS if name in there)]
            for batch in file.iter_batches(columns=fields):
                for values in batch.to_pylist():
                    yield Record(row=next(rows), **values)
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{path} cannot be read as Parquet: {first_line(error)}"
        raise OutputError(
            problem, hint="copy it again, or pass --restart to make it again"
        ) from error


def check_parquet(cells: Path) -> None:
    """Refuse Parquet before cells are described, where it could not be written.

    Raises:
        OutputError: pyarrow is not installed.
    """
    import_pyarrow()


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
