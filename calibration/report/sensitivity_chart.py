"""The sensitivity curve as inline SVG: a bar a linear, the noisiest first."""

from __future__ import annotations

from collections.abc import Sequence

from c2t.calibration.report.html_elements import Attributes, Markup, element
from c2t.calibration.results.calibration import Sensitivity

STEP, HEIGHT, LEFT, TOP = 14, 180, 56, 12
COLOUR, GREY = "#2563eb", "#6b7280"


def sensitivity_chart(items: Sequence[Sensitivity]) -> Markup:
    """Bars of noise in dB below the signal; a lower bar is a more sensitive linear."""
    ordered = sorted(items, key=lambda item: item.sqnr)
    most = max((item.sqnr for item in ordered), default=1.0)
    marks = []
    for tick in range(0, int(most) + 1, 10):
        y = TOP + HEIGHT * (1 - tick / most)
        line: Attributes = {
            "x1": LEFT,
            "x2": LEFT + STEP * len(ordered),
            "y1": y,
            "y2": y,
            "stroke": "#e5e7eb",
        }
        marks.append(element("line", line))
        place: Attributes = {"x": LEFT - 8, "y": y + 4, "text-anchor": "end", "fill": GREY}
        marks.append(element("text", place, f"{tick} dB"))
    for number, item in enumerate(ordered):
        tall = max(1.0, HEIGHT * max(item.sqnr, 0.0) / most)
        box: Attributes = {"x": LEFT + STEP * number, "y": TOP + HEIGHT - tall, "width": STEP - 3}
        title = element("title", None, f"{item.graph} {item.linear}: {item.sqnr:.1f} dB")
        marks.append(element("rect", {**box, "height": tall, "rx": 2, "fill": COLOUR}, title))
    width = LEFT + STEP * len(ordered) + 20
    size: Attributes = {"width": width, "height": TOP + HEIGHT + 12, "font-size": 12, "role": "img"}
    return element("svg", {**size, "viewBox": f"0 0 {width} {TOP + HEIGHT + 12}"}, *marks)
