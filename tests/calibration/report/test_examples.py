"""Example cells of a page: which words are marked, and which tags are right."""

from __future__ import annotations

from c2t.calibration.report.examples import example, marked_differences
from c2t.calibration.results.evaluation import CellRecord


def test_only_words_that_differ_are_marked() -> None:
    parts = marked_differences("a large T cell of the blood", "a small T cell of blood")
    assert "".join(words for words, _ in parts) == "a large T cell of the blood"
    assert [words.strip() for words, differs in parts if differs] == ["large", "the"]
    assert marked_differences("the same", "the same") == [("the same", False)]
    assert marked_differences("", "anything") == []


def test_a_cell_has_both_texts_and_its_verdicts() -> None:
    record = CellRecord(
        cell="c1",
        text="a B cell",
        error=None,
        true={"cell_type": "B cell"},
        said={"cell_type": "b cells"},
        similarity={},
        against_text="a T cell",
        against_said={"cell_type": "T cell"},
    )
    shown = example(record)
    assert [(tag.words, tag.right) for tag in shown.tags] == [
        ("true: B cell", True),
        ("text: b cells", True),
        ("against: T cell", False),
    ]
    assert [column.who for column in shown.columns] == ["text", "against"]


def test_a_cell_without_a_text_shows_why() -> None:
    record = CellRecord(cell="c1", text=None, error="no genes", true={}, said={}, similarity={})
    shown = example(record)
    assert shown.tags == []
    assert [list(column.parts) for column in shown.columns] == [[("no genes", False)]]
