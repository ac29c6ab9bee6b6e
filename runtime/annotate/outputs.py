"""Results become files: JSON lines, tables, a copy of the cells, and a matrix of probabilities."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.annotate.into_h5ad import write_h5ad
from c2t.runtime.annotate.labels import Labels
from c2t.runtime.annotate.results import Results, columns, flat_record, nested_record
from c2t.runtime.describe.labelled_cell import LabelledCell
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.obs import check_obs
from c2t.runtime.output.parquet import ROW_GROUP, check_parquet
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import check_target
from c2t.runtime.system.plain_newlines import PlainNewlines

CELL = "cell"  # first column of tables and matrices
OTHER_CELL = "cell_id"  # of a matrix that has a label called "cell"


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a file is written from.

    Args:
        results: The results.
        cells: The file of cells.
        top: Labels of each cell in tables and JSON lines.
        about: Provenance: strings and numbers by name.
    """

    results: Results
    cells: Path
    top: int
    about: dict[str, Any]


@dataclass(frozen=True)
class OutputFormat:
    """How results become a file, and what refuses the file of cells before the work."""

    write: Callable[[Output, Path], None]
    check: Callable[[Path], None] = lambda cells: None


def write_jsonl(output: Output, path: Path) -> None:
    """Write one JSON object a line, UTF-8."""
    with path.open("wb") as stream:
        stream.writelines(json_lines(output))


def json_lines(output: Output) -> Iterable[bytes]:
    """The lines of JSON, each with its newline."""
    for cell in output.results.cells():
        yield json_line(cell, output.results.labels, output.top)


def json_line(cell: LabelledCell, labels: Labels, top: int) -> bytes:
    """One cell as a line of JSON, newline included."""
    return msgspec.json.encode(nested_record(cell, labels, top)) + b"\n"


def write_csv(output: Output, path: Path) -> None:
    """Write comma-separated values with a header line."""
    labels = output.results.labels
    rows = (flat_record(c, labels, output.top).values() for c in output.results.cells())
    _write_csv(path, columns(labels, output.top), rows)


def write_parquet(output: Output, path: Path) -> None:
    """Write Parquet; `about` goes into the schema's metadata (key `c2t`, JSON)."""
    import pyarrow

    labels = output.results.labels
    text, number = pyarrow.string(), pyarrow.float64()
    kinds = {"probability": number, "mass": number, "genes": pyarrow.int32()}
    fields = [(name, kinds.get(name.split("_")[0], text)) for name in columns(labels, output.top)]
    records = (flat_record(c, labels, output.top) for c in output.results.cells())
    _write_parquet(path, fields, records, output.about)


def write_matrix_csv(output: Output, path: Path) -> None:
    """Write the probability of every label: a row a cell, a column a label."""
    results = output.results
    rows = (
        [results.ids[first + place], *map(_plain, row.tolist())]
        for first, shares in results.probabilities()
        for place, row in enumerate(shares)
    )
    _write_csv(path, (_cell_column(results.labels), *results.labels.names), rows)


def write_matrix_parquet(output: Output, path: Path) -> None:
    """As `write_matrix_csv`, as Parquet with float32."""
    import pyarrow

    results, names = output.results, output.results.labels.names
    cell = _cell_column(results.labels)
    fields = [(cell, pyarrow.string()), *((name, pyarrow.float32()) for name in names)]
    records = (
        {cell: results.ids[first + place], **dict(zip(names, row.tolist(), strict=True))}
        for first, shares in results.probabilities()
        for place, row in enumerate(shares)
    )
    _write_parquet(path, fields, records, output.about)


def _write_h5ad(output: Output, path: Path) -> None:
    write_h5ad(output.cells, path, output.results, output.about)


FORMATS = {
    ".jsonl": OutputFormat(write_jsonl),
    ".csv": OutputFormat(write_csv),
    ".parquet": OutputFormat(write_parquet, check_parquet),
    ".h5ad": OutputFormat(_write_h5ad, check_obs),
}
MATRIX_FORMATS = {
    ".csv": OutputFormat(write_matrix_csv),
    ".parquet": OutputFormat(write_matrix_parquet, check_parquet),
}


def check_output(path: Path, formats: dict[str, OutputFormat], *, cells: Path, force: bool) -> None:
    """Refuse at once a file that could only fail at the end.

    Raises:
        OutputError: An unknown suffix, a file that exists, the input itself, no pyarrow.
    """
    if path.suffix not in formats:
        problem = f"{path} has no suffix that says what to write"
        *others, last = formats
        raise OutputError(problem, hint=f"end its name in {', '.join(others)} or {last}")
    check_not_cells(path, cells)
    check_target(path, force=force)
    formats[path.suffix].check(cells)


def _cell_column(labels: Labels) -> str:
    """The name of a matrix's first column: that of the tables, unless a label has it."""
    return OTHER_CELL if CELL in labels.names else CELL


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 7)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(PlainNewlines(stream))
        writer.writerow(header)
        writer.writerows(rows)


def _write_parquet(
    path: Path,
    fields: list[tuple[str, Any]],
    records: Iterable[dict[str, Any]],
    about: dict[str, Any],
) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(fields, metadata={"c2t": msgspec.json.encode(about)})
    stream = iter(records)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(itertools.islice(stream, ROW_GROUP)):
            found = {name: [_missing(record[name]) for record in group] for name, _ in fields}
            writer.write_table(pyarrow.table(found, schema=schema))


def _missing(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
