"""Example cells of a page: texts side by side, with the words marked that differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from c2t.calibration.metrics.labels import same_label
from c2t.calibration.results.evaluation import CellRecord

_WORDS = re.compile(r"\s+|\S+")

Part = tuple[str, bool]  # some words, and whether they are marked


@dataclass(frozen=True)
class Tag:
    """A few words about a cell, coloured as right or wrong."""

    words: str
    right: bool


@dataclass(frozen=True)
class Column:
    """One of the texts of a cell, and whose it is."""

    who: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Example:
    """A cell and its texts."""

    cell: str
    tags: Sequence[Tag]
    columns: Sequence[Column]


def example(record: CellRecord) -> Example:
    """A cell as the page shows it."""
    true, said = record.true.get("cell_type"), record.said.get("cell_type")
    tags = []
    if record.true:
        tags += [Tag(f"true: {true or 'unknown'}", True), _verdict("text", true, said)]
    if record.against_said is not None:
        tags.append(_verdict("against", true, record.against_said.get("cell_type")))
    columns = [_column("text", record.text or record.error or "", record.against_text)]
    if record.against_text is not None:
        columns.append(_column("against", record.against_text, record.text))
    if record.reference is not None:
        columns.append(_column("reference caption", record.reference, record.text))
    return Example(record.cell, tags, columns)


def marked_differences(text: str, base: str) -> list[Part]:
    """The text in parts; marked are the words that `base` does not have in the same order."""
    words = _WORDS.findall(text)
    matcher = SequenceMatcher(a=_WORDS.findall(base), b=words, autojunk=False)
    return [
        ("".join(words[start:end]), kind != "equal")
        for kind, _, _, start, end in matcher.get_opcodes()
        if start < end
    ]


def _verdict(who: str, true: str | None, said: str | None) -> Tag:
    return Tag(f"{who}: {said or 'no cell type'}", same_label(true, said))


def _column(who: str, text: str, base: str | None) -> Column:
    return Column(who, [(text, False)] if base is None else marked_differences(text, base))
