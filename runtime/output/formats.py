"""The table of output formats: the suffix of a file's name says what is written.

A new format is a file of its own in this folder, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.runtime.output.obs import check_obs, write_obs
from c2t.runtime.output.parquet import check_parquet, write_parquet
from c2t.runtime.output.record import Record
from c2t.runtime.output.text_files import write_csv, write_jsonl

OBS_SUFFIX = ".h5ad"

# The file of cells, the file to write, what to write, and provenance by name.
Write = Callable[[Path, Path, Iterable[Record], dict[str, Any]], None]


@dataclass(frozen=True)
class OutputFormat:
    """How descriptions become a file.

    Args:
        write: Writes all records.
        check: Given the file of cells, refuses before any of them is described what could only
            fail at the end.
    """

    write: Write
    check: Callable[[Path], None] = lambda cells: None


OUTPUT_FORMATS: dict[str, OutputFormat] = {
    ".jsonl": OutputFormat(write_jsonl),
    ".csv": OutputFormat(write_csv),
    ".parquet": OutputFormat(write_parquet, check_parquet),
    OBS_SUFFIX: OutputFormat(write_obs, check_obs),
}
