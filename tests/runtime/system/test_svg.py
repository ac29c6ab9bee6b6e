"""Pictures: whatever is written into them is escaped, and a file is one that a browser opens."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from c2t.runtime.system.svg import (
    BLUE,
    Markup,
    bar,
    dot,
    element,
    line,
    picture,
    text,
    text_width,
    wrapped,
)

HOSTILE = '<script>alert("&")</script>'
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "mark",
    [
        text(HOSTILE, (1, 2)),
        text("x", (1, 2), title=HOSTILE),
        text("x", (1, 2), HOSTILE),
        bar((1, 2), (3, 4), HOSTILE, title=HOSTILE),
        dot((1, 2), 3, BLUE, title=HOSTILE),
        element("g", {"id": HOSTILE}, HOSTILE),
    ],
)
def test_what_is_written_is_no_markup(mark: Markup) -> None:
    tree = ElementTree.fromstring(picture((10, 10), [mark]))
    assert {e.tag for e in tree.iter()} <= {"svg", "text", "title", "rect", "circle", "g"}
    written = [*tree.itertext(), *(v for e in tree.iter() for v in e.attrib.values())]
    assert HOSTILE in written


def test_a_file_stands_alone_on_white() -> None:
    tree = ElementTree.fromstring(picture((100.4, 50), [line((0, 0), (9, 9))], whole_file=True))
    assert tree.tag == f"{SVG}svg"
    assert [tree.get(name) for name in ("width", "height", "viewBox")] == [
        "100",
        "50",
        "0 0 100 50",
    ]
    paper, mark = tree
    assert (paper.get("fill"), mark.tag) == ("#ffffff", f"{SVG}line")


def test_numbers_are_short() -> None:
    mark = text("x", (1 / 3, 20.0), turned=-45)
    assert 'x="0.33" y="20"' in mark
    assert 'transform="rotate(-45 0.33 20)"' in mark


def test_a_picture_grows_until_its_texts_lie_inside() -> None:
    marks = [
        text("to the left", (10, 20), anchor="end"),
        text("to the right", (90, 20)),
        text("turned", (50, 5), turned=-45),
    ]
    root = ElementTree.fromstring(picture((100, 30), marks))
    left, top, width, height = map(int, str(root.get("viewBox")).split())
    assert left <= 10 - 11 * 5
    assert top < -20
    assert left + width >= 90 + 12 * 5
    assert top + height == 30
    assert (root.get("width"), root.get("height")) == (str(width), str(height))
    alone = ElementTree.fromstring(picture((100, 30), marks, whole_file=True))
    assert alone[0].get("x") == str(left)  # the paper lies under all of it


@pytest.mark.parametrize("words", ["", "a", "two words", "W" * 200, "x-" * 50, "  spaced   out  "])
def test_lines_hold_every_letter_and_are_narrow(words: str) -> None:
    lines = wrapped(words, 100, 12)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert all(text_width(line, 12) <= 100 for line in lines)
    assert lines


def test_words_stay_whole_where_they_can() -> None:
    assert wrapped("natural killer cell", 110, 12) == ["natural killer", "cell"]
