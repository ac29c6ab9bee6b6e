"""The sensitivity curve: a bar a product, the noisiest first."""

from __future__ import annotations

from collections.abc import Sequence

from c2t.calibration.quantise.sensitivity import Sensitivity
from c2t.runtime.system.svg import BLUE, GREY, Markup, bar, line, picture, text

STEP, HEIGHT, LEFT, TOP = 14, 180, 56, 12


def sensitivity_chart(items: Sequence[Sensitivity]) -> Markup:
    """Bars of noise in dB below the signal; a lower bar is a more sensitive product."""
    ordered = sorted(items, key=lambda item: item.sqnr)
    most = max((item.sqnr for item in ordered), default=1.0)
    width = STEP * len(ordered)
    marks = []
    for tick in range(0, int(most) + 1, 10):
        y = TOP + HEIGHT * (1 - tick / most)
        marks.append(line((LEFT, y), (LEFT + width, y)))
        marks.append(text(f"{tick} dB", (LEFT - 8, y + 4), GREY, anchor="end"))
    for number, item in enumerate(ordered):
        tall = max(1.0, HEIGHT * max(item.sqnr, 0.0) / most)
        title = f"{item.graph} {item.product}: {item.sqnr:.1f} dB"
        at = LEFT + STEP * number, TOP + HEIGHT - tall
        marks.append(bar(at, (STEP - 3, tall), BLUE, title=title))
    return picture((LEFT + width + 20, TOP + HEIGHT + 12), marks)
