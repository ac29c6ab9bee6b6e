"""Writes an evaluation to a folder: the figures, a line for each cell, and a page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from c2t.calibration.report.evaluation_page import evaluation_page
from c2t.calibration.results.evaluation import CellRecord, Evaluation
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.files import atomic_folder, check_folder_target

FIGURES = "evaluation.json"
PAGE = "evaluation.html"
CELLS = "cells.jsonl"


def check_report_target(folder: Path, *, force: bool = False) -> None:
    """Refuse a place for the report before anything is described.

    Raises:
        OutputError: See `c2t.runtime.system.files.check_folder_target`.
    """
    check_folder_target(folder, force=force, marker=FIGURES)


def write_report(
    folder: Path, evaluation: Evaluation, records: Sequence[CellRecord], *, force: bool = False
) -> None:
    """Write the report's folder, whole or not at all.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    encoder = msgspec.json.Encoder()
    with atomic_folder(folder, force=force, marker=FIGURES) as place:
        (place / FIGURES).write_bytes(json_bytes(evaluation))
        (place / PAGE).write_text(evaluation_page(evaluation), encoding="utf-8", newline="")
        with (place / CELLS).open("wb") as stream:
            for record in records:
                stream.write(encoder.encode(record) + b"\n")
