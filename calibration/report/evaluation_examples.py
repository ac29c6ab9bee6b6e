"""Example cells of an evaluation's page: texts side by side, with the words that differ marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from c2t.calibration.metrics.labels import same_label
from c2t.calibration.report.html_elements import Markup, element
from c2t.calibration.results.evaluation import CellRecord

_WORDS = re.compile(r"\s+|\S+")


def example_section(examples: Sequence[CellRecord]) -> Markup | str:
    """Some cells with their texts; nothing if there are none."""
    if not examples:
        return ""
    return element(
        "section",
        None,
        element("h2", None, "Examples"),
        *(_example(record) for record in examples),
    )


def marked_differences(text: str, base: str) -> list[Markup | str]:
    """The text with the words marked that do not stand in the same order in `base`."""
    words = _WORDS.findall(text)
    matcher = SequenceMatcher(a=_WORDS.findall(base), b=words, autojunk=False)
    parts: list[Markup | str] = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            part = "".join(words[start:end])
            parts.append(part if kind == "equal" else element("mark", None, part))
    return parts


def _example(record: CellRecord) -> Markup:
    true, said = record.true.get("cell_type"), record.said.get("cell_type")
    line: list[Markup | str] = [element("span", {"class": "cell"}, record.cell)]
    if record.true:
        line.append(element("span", {"class": "tag right"}, f"true: {true or 'unknown'}"))
        line.append(_verdict("text", true, said))
    if record.against_said is not None:
        line.append(_verdict("against", true, record.against_said.get("cell_type")))
    columns = [_text("text", record.text or record.error or "", record.against_text)]
    if record.against_text is not None:
        columns.append(_text("against", record.against_text, record.text))
    if record.reference is not None:
        columns.append(_text("reference caption", record.reference, record.text))
    return element(
        "div",
        {"class": "example"},
        element("div", None, *line),
        element("div", {"class": "texts"}, *columns),
    )


def _verdict(who: str, true: str | None, said: str | None) -> Markup:
    kind = "right" if same_label(true, said) else "wrong"
    return element("span", {"class": f"tag {kind}"}, f"{who}: {said or 'no cell type'}")


def _text(who: str, text: str, base: str | None) -> Markup:
    words = [text] if base is None else marked_differences(text, base)
    return element(
        "div",
        {"class": "text"},
        element("div", {"class": "who"}, who),
        element("p", None, *words),
    )
