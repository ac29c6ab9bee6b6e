"""Descriptions in files of lines and tables: `.jsonl`, `.csv`, `.parquet`, and folders of parts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.output.parts.manifest import CELL_GROUPS, check_parts
from c2t.runtime.output.record import GROUP_FIELDS, GROUPS_KEY
from c2t.runtime.system.errors import OutputError, ReportError, first_line

LINE_BYTES_MAX = 4 << 20  # of one cell
HINT = "give what `c2t describe ... -o` wrote"

Records = Iterator[Mapping[str, Any]]


def read_jsonl(path: Path, wanted: Sequence[str]) -> tuple[Records, dict[str, Any]]:
    """One record a line.

    Raises:
        ReportError: A line that is no record of a cell.
    """
    return _json_lines(path, frozenset(wanted)), {}


def _json_lines(path: Path, wanted: frozenset[str]) -> Records:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LINE_BYTES_MAX):
            number += 1
            if not line.strip():
                continue
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                raise _bad(path, number, f"it is longer than {LINE_BYTES_MAX:,} bytes")
            try:
                record = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise _bad(path, number, str(error)) from error
            if not isinstance(record.get("cell"), str) or not {"text", "error"} & set(record):
                raise _bad(path, number, "it has no `cell` with a `text`")
            yield {name: value for name, value in record.items() if name in wanted}


def read_csv(path: Path, wanted: Sequence[str]) -> tuple[Records, dict[str, Any]]:
    """One record a row; empty values are missing.

    Raises:
        ReportError: No table of cells.
    """
    return _rows(path, frozenset(wanted)), {}


def _rows(path: Path, wanted: frozenset[str]) -> Records:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            if not {"cell", "text"} <= set(reader.fieldnames or ()):
                raise _bad(path, 1, "it names no columns `cell` and `text`")
            for row in reader:
                if None in row or None in row.values():
                    raise _bad(path, reader.line_num, "it has another number of values")
                yield {name: value or None for name, value in row.items() if name in wanted}
        except (csv.Error, UnicodeDecodeError) as error:
            raise _bad(path, reader.line_num, str(error)) from error


def read_parquet(path: Path, wanted: Sequence[str]) -> tuple[Records, dict[str, Any]]:
    """One record a row; and what the schema's metadata say of the run.

    Raises:
        ReportError: It cannot be read, or has no descriptions.
        OutputError: pyarrow is not installed.
    """
    file = open_parquet(path)
    stated = (file.schema_arrow.metadata or {}).get(b"c2t", b"{}")
    try:
        about = msgspec.json.decode(stated, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        about = {}
    return _batches(file, path, wanted), about


def read_parts(path: Path, wanted: Sequence[str]) -> tuple[Records, dict[str, Any]]:
    """The records of all parts, in the order of the cells; each part is compared with its hash.

    Where the cells were grouped, each record has its cell's group.

    Raises:
        OutputError: A part is missing or differs, or pyarrow is not installed.
        ReportError: A part cannot be read, or the groups are those of other cells.
    """
    manifest = check_parts(path)
    files = [path / part.file for part in manifest.parts]

    def records() -> Records:
        for file in files:
            yield from _batches(open_parquet(file), file, wanted)

    if GROUPS_KEY not in manifest.about:
        return records(), manifest.about
    grouped = path / CELL_GROUPS
    groups = _batches(open_parquet(grouped), grouped, ("cell", *GROUP_FIELDS), needed={"cell"})
    return _with_groups(records(), groups, grouped), manifest.about


def _with_groups(records: Records, groups: Records, path: Path) -> Records:
    """The records, each with the group of its cell; both are in the order of the cells."""
    for record, group in zip_longest(records, groups):
        if record is None or group is None or record["cell"] != group["cell"]:
            problem = f"{path} has the groups of other cells than the parts beside it"
            raise ReportError(problem, hint="copy the folder again, or describe again with --force")
        yield {**record, **group}


def open_parquet(path: Path) -> Any:
    """Open a Parquet file.

    Raises:
        ReportError: It cannot be read.
        OutputError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        problem = f"a .parquet file needs pyarrow, which cannot be imported: {error}"
        raise OutputError(problem, hint='run `pip install "c2t[parquet]"`') from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{path} cannot be read as Parquet: {first_line(error)}"
        raise ReportError(problem, hint=HINT) from error


def _batches(
    file: Any,
    path: Path,
    wanted: Sequence[str],
    *,
    needed: Set[str] = frozenset({"cell", "text"}),
) -> Records:
    import pyarrow

    names = set(file.schema_arrow.names)
    if not needed <= names:
        lacking = " and ".join(f"`{name}`" for name in sorted(needed))
        problem = f"{path} has no descriptions: it has no columns {lacking}"
        raise ReportError(problem, hint=HINT)
    try:
        for batch in file.iter_batches(columns=[name for name in wanted if name in names]):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{path} cannot be read as Parquet: {first_line(error)}"
        raise ReportError(problem, hint=HINT) from error


def _bad(path: Path, line: int, reason: str) -> ReportError:
    problem = f"{path} holds no descriptions: line {line:,}: {reason}"
    return ReportError(problem, hint=HINT)
