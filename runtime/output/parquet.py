"""Descriptions as a Parquet table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2t.runtime.output.record import (
    EMBEDDING_KEY,
    FIELD_COLUMNS,
    FIELDS,
    GROUP_FIELDS,
    UNSURE_FIELDS,
    Record,
    embedding_array,
    fields_of,
)
from c2t.runtime.system.errors import OutputError, first_line

BATCH = 4096  # records that are read at once
ROW_GROUP = 16_384  # records of one row group: some tens of megabytes of text at most


def write_parquet(
    cells: Path, path: Path, records: Iterable[Record], about: dict[str, Any]
) -> None:
    """Write Parquet, compressed; `about` goes into the schema's metadata (key `c2t`, JSON).

    Raises:
        OutputError: pyarrow is not installed.
    """
    _write_columns(path, records, about, fields_of(about), embedding=EMBEDDING_KEY in about)


def write_cell_groups(path: Path, records: Iterable[Record], about: dict[str, Any]) -> None:
    """Write the group of each cell, and nothing else of it.

    Raises:
        OutputError: pyarrow is not installed.
    """
    _write_columns(path, records, about, (FIELDS[0], *GROUP_FIELDS), embedding=False)


def _write_columns(
    path: Path,
    records: Iterable[Record],
    about: dict[str, Any],
    fields: Sequence[str],
    *,
    embedding: bool,
) -> None:
    pyarrow, parquet = import_pyarrow()
    text, number = pyarrow.string(), pyarrow.float64()
    kinds = [text, text, number, number, pyarrow.int32(), text, *([text] * len(FIELD_COLUMNS))]
    kind_of = dict(zip((*FIELDS, *UNSURE_FIELDS), (*kinds, number, pyarrow.bool_()), strict=True))
    kind_of |= dict(zip(GROUP_FIELDS, (text, text, text, number), strict=True))
    named = [(name, kind_of[name]) for name in fields]
    if embedding:
        kind = pyarrow.list_(pyarrow.float32(), about[EMBEDDING_KEY]["size"])
        named.append((EMBEDDING_KEY, kind))
        # As in obsm: rows of one length, which can be stacked, and NaN stops whoever computes on.
        missing = np.full(about[EMBEDDING_KEY]["size"], np.nan, np.float32)
    schema = pyarrow.schema(named, metadata={"c2t": msgspec.json.encode(about)})
    stream = iter(records)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(stream, ROW_GROUP)):
            columns = {name: [getattr(record, name) for record in group] for name in fields}
            if embedding:
                columns[EMBEDDING_KEY] = [
                    missing if (vector := embedding_array(record)) is None else vector
                    for record in group
                ]
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
            embedded = [EMBEDDING_KEY] if EMBEDDING_KEY in there else []
            for batch in file.iter_batches(columns=[*fields, *embedded], batch_size=BATCH):
                vectors = _vectors(batch) if embedded else [None] * batch.num_rows
                found = batch.select(fields).to_pylist()
                for values, vector in zip(found, vectors, strict=True):
                    yield Record(row=next(rows), embedding=vector, **values)
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{path} cannot be read as Parquet: {first_line(error)}"
        raise OutputError(
            problem, hint="copy it again, or pass --restart to make it again"
        ) from error


def _vectors(batch: Any) -> list[bytes | None]:
    """The embeddings of a batch of rows as bytes."""
    column = batch.column(EMBEDDING_KEY)
    width, start = column.type.list_size, column.offset
    values = column.values.to_numpy(zero_copy_only=False).astype("<f4", copy=False)
    rows = values.reshape(-1, width)[start : start + len(column)]
    # Earlier versions wrote null instead of NaN.
    there = np.asarray(column.is_valid()) & ~np.isnan(rows).all(axis=1)
    pairs = zip(rows, there.tolist(), strict=True)
    return [row.tobytes() if valid else None for row, valid in pairs]


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
