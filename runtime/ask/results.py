"""Answers become lines of JSON, a table, or one JSON document.

One decision: each answer says the whole question and all that it was written with, its seed too. So
a line that is copied out of its file can still be repeated.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from c2t.runtime.describe.asker import Answer
from c2t.runtime.describe.question import Question
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.output.record import DIGITS
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import check_target
from c2t.runtime.system.plain_newlines import PlainNewlines


class AnswerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as files have it.

    Args:
        name: The cell's id, or the group's name.
        cells: How many cells the prompt was made of; 0 where there was none.
        group_cells: How many cells the group has. A mean is made of at most 64 of them, and of
            none that cannot be read.
        question: What was asked.
        labels: What the prompt let choose from; empty where it lists none.
        text: What the model wrote; None where there is an error.
        thought: What it thought before it answered; None: nothing.
        answer: Its answer: what stands in <answer>…</answer> of it or, of bundles whose answers
            have no tags, what is no thought. None: it has none.
        confidence: Mean probability of the text's tokens, 0 to 1.
        whole: Whether the text ended of itself, not at the longest length.
        error: Why there is no text.
        seed: Of drawn texts; None where the most probable tokens were written.
        settings: How the text was written.
    """

    name: str
    cells: int
    group_cells: int
    question: str
    labels: tuple[str, ...] = ()
    text: str | None
    thought: str | None
    answer: str | None
    confidence: float | None
    whole: bool
    error: str | None
    seed: int | None
    settings: dict[str, Any]


def answer_record(answer: Answer, question: Question, settings: Mapping[str, Any]) -> AnswerRecord:
    """A record of an answer.

    Args:
        answer: The answer.
        question: What was asked.
        settings: See `c2t.runtime.describe.text_settings.all_settings`.
    """
    confidence = answer.confidence
    return AnswerRecord(
        name=answer.name,
        cells=answer.cells,
        group_cells=answer.group_cells,
        question=question.text,
        labels=question.labels,
        text=answer.text,
        thought=answer.thought,
        answer=answer.answer,
        confidence=None if confidence is None else round(confidence, DIGITS),
        whole=answer.whole,
        error=answer.error,
        seed=settings.get("seed"),
        settings=dict(settings),
    )


def json_line(record: AnswerRecord) -> bytes:
    """A record as a line."""
    return msgspec.json.encode(record) + b"\n"


def _write_jsonl(stream: IO[bytes], records: Iterable[AnswerRecord], about: dict[str, Any]) -> None:
    for record in records:
        stream.write(json_line(record))


def _write_json(stream: IO[bytes], records: Iterable[AnswerRecord], about: dict[str, Any]) -> None:
    stream.write(json_bytes({"about": about, "answers": list(records)}))


def _write_csv(stream: IO[bytes], records: Iterable[AnswerRecord], about: dict[str, Any]) -> None:
    import io

    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(PlainNewlines(text))
    names = AnswerRecord.__struct_fields__
    writer.writerow(names)
    writer.writerows(_row(record, names) for record in records)
    text.detach()


def _row(record: AnswerRecord, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        value = getattr(record, name)
        if isinstance(value, (dict, tuple)):
            value = json.dumps(value) if value else ""
        yield value


@dataclass(frozen=True)
class AnswerFormat:
    """Writes answers."""

    write: Callable[[IO[bytes], Iterable[AnswerRecord], dict[str, Any]], None]


FORMATS = {
    ".jsonl": AnswerFormat(_write_jsonl),
    ".json": AnswerFormat(_write_json),
    ".csv": AnswerFormat(_write_csv),
}


def check_output(path: Path, *, cells: Path, force: bool) -> None:
    """Refuse at once a file that could only fail at the end.

    Raises:
        OutputError: An unknown suffix, a file that exists, the input itself.
    """
    if path.suffix not in FORMATS:
        problem = f"{path} has no suffix that says what to write"
        *others, last = FORMATS
        raise OutputError(problem, hint=f"end its name in {', '.join(others)} or {last}")
    check_not_cells(path, cells)
    check_target(path, force=force)
