"""Writes the figures of published questions to a folder: JSON, a line a question, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from c2t.calibration.report.pages import render
from c2t.calibration.report.question_table import HEAD, not_asked, task_row
from c2t.calibration.results.questions import AskedQuestion, QuestionScores
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.files import atomic_folder, check_folder_target

FIGURES = "questions.json"
PAGE = "questions.html"
ANSWERS = "answers.jsonl"
NOTE = (
    "An answer is the most probable of a question's options, which the decoder reads behind the "
    "prompt; nothing is written. Little mass means that the model would have said something else. "
    "Published figures are of texts that models wrote: they are not of the same kind."
)


def check_report_target(folder: Path, *, force: bool = False) -> None:
    """Refuse a place for the report before anything is asked.

    Raises:
        OutputError: See `c2t.runtime.system.files.check_folder_target`.
    """
    check_folder_target(folder, force=force, marker=FIGURES)


def write_report(
    folder: Path, scores: QuestionScores, asked: Sequence[AskedQuestion], *, force: bool = False
) -> None:
    """Write the report's folder, whole or not at all.

    Raises:
        OutputError: It exists, or cannot be written.
    """
    encoder = msgspec.json.Encoder()
    with atomic_folder(folder, force=force, marker=FIGURES) as place:
        (place / FIGURES).write_bytes(json_bytes(scores))
        (place / PAGE).write_text(questions_page(scores), encoding="utf-8", newline="")
        with (place / ANSWERS).open("wb") as stream:
            for each in asked:
                stream.write(encoder.encode(each) + b"\n")


def questions_page(scores: QuestionScores) -> str:
    """The page."""
    return render(
        "questions.html.j2",
        title=f"Questions to {scores.bundle}",
        line=f"{sum(task.questions for task in scores.tasks):,} questions of {scores.file}",
        head=HEAD,
        lines=[task_row(task) for task in scores.tasks],
        warnings=not_asked(scores),
        note=NOTE,
        details=[
            ("bundle", f"{scores.bundle}, {scores.precision}"),
            ("SHA-256 of its manifest", scores.digest),
            ("engine", scores.engine),
            ("SHA-256 of the questions", scores.file_sha256),
            ("time", f"{scores.seconds:.1f} s"),
        ],
    )
