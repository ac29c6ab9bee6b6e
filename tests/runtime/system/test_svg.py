"""Pictures: whatever is written into them is escaped, and a file is one that a browser opens."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from c2t.runtime.system.svg import BLUE, Markup, bar, dot, element, line, picture, text

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
