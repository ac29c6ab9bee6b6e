"""Writes a proposed label map as a table, to be looked at, edited, and given back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from c2t.calibration.labels.proposal import LabelLine
from c2t.runtime.labels.label_map import LABEL, NAME, TABLE_SUFFIXES, TERM, USE, WHY
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import check_target, write_text
from c2t.runtime.system.plain_newlines import PlainNewlines

COLUMNS = (LABEL, NAME, TERM, USE, WHY, "evidence", "cells", "share", "second", "second_share")


def check_proposal_target(path: Path, *, force: bool = False) -> None:
    """Refuse a place for a proposal before anything is described.

    Raises:
        OutputError: Not a .csv or .tsv file, or see `c2t.runtime.system.files.check_target`.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        problem = f"a proposed label map is a table, {path.name} is none"
        raise OutputError(problem, hint="name a .tsv or .csv file")
    check_target(path, force=force)


def write_proposal(path: Path, lines: Iterable[LabelLine], *, force: bool = False) -> None:
    """Write the lines, whole or not at all.

    Raises:
        OutputError: The place cannot be written.
    """
    stream = io.StringIO(newline="")
    mark = TABLE_SUFFIXES[path.suffix.lower()]
    writer = csv.writer(PlainNewlines(stream), delimiter=mark)
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow(
            (
                *(line.label, line.name or "", line.term or ""),
                *("yes" if line.use else "no", line.reason.value, line.evidence),
                *(line.cells, f"{line.share:.3f}", line.second or "", f"{line.second_share:.3f}"),
            )
        )
    write_text(path, stream.getvalue(), force=force)
