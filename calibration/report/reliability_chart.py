"""The reliability diagram: the share of right cell types over the confidence that was stated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from c2t.calibration.confidence.reliability import Reliability
from c2t.runtime.system.svg import (
    AMBER,
    BLUE,
    FONT_SIZE,
    GREY,
    Markup,
    dot,
    element,
    line,
    picture,
    text,
)

SIDE, LEFT, TOP = 300, 64, 12  # pixels
LARGEST, SMALLEST = 11, 2.5  # radius of a dot that holds all cells, and of one that holds few
COLOURS = (AMBER, BLUE)


def reliability_chart(series: Sequence[Reliability]) -> Markup:
    """Dots for each tenth of the confidence, as large as the cells in it are many.

    Args:
        series: At most two: the confidence, and what was made of it. On the diagonal, what is said
            is right.
    """
    bottom = TOP + SIDE
    marks: list[Markup] = []
    for tick in range(0, 101, 20):
        x, y = LEFT + SIDE * tick / 100, bottom - SIDE * tick / 100
        marks += [line((x, TOP), (x, bottom)), line((LEFT, y), (LEFT + SIDE, y))]
        marks.append(text(f"{tick} %", (x, bottom + 18), GREY, anchor="middle"))
        marks.append(text(f"{tick} %", (LEFT - 8, y + 4), GREY, anchor="end"))
    marks.append(line((LEFT, bottom), (LEFT + SIDE, TOP), GREY))
    for colour, one in zip(COLOURS, series, strict=False):
        cells = sum(b.cells for b in one.bins)
        places = [(LEFT + SIDE * b.stated, bottom - SIDE * b.right) for b in one.bins]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        marks.append(element("polyline", {"points": way, "fill": "none", "stroke": colour}))
        for place, b in zip(places, one.bins, strict=True):
            title = (
                f"{one.of}: {b.cells:,} cells, stated {100 * b.stated:.1f} %, "
                f"right {100 * b.right:.1f} %"
            )
            radius = max(LARGEST * math.sqrt(b.cells / cells), SMALLEST)
            marks.append(dot(place, radius, colour, title=title))
    marks.append(text("stated", (LEFT + SIDE / 2, bottom + 38), GREY, anchor="middle"))
    marks.append(text("right", (14, TOP + SIDE / 2), GREY, anchor="middle", turned=-90))
    x = LEFT + SIDE + 24
    for number, (colour, one) in enumerate(zip(COLOURS, series, strict=False)):
        y = TOP + 14 + number * 44
        marks.append(dot((x, y - 4), 5, colour))
        marks.append(text(one.of, (x + 12, y)))
        marks.append(text(f"calibration error {one.ece:.3f}", (x + 12, y + 18), GREY))
    y = TOP + 14 + len(series) * 44
    marks.append(element("line", _key_line(x - 6, y - 4)))
    marks.append(text("what is said is right", (x + 12, y), GREY))
    return picture((x + 330, bottom + 48), marks, font_size=FONT_SIZE)


def _key_line(x: float, y: float) -> dict[str, str | float]:
    return {"x1": x, "x2": x + 12, "y1": y + 4, "y2": y - 4, "stroke": GREY}
