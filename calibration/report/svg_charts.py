"""Pictures for reports as inline SVG, drawn without a plotting library: a page needs nothing else.

Every mark carries its figures as a `title`, which browsers show when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.report.html_elements import Markup, element

# The judged bundle, and the one it is held against.
COLOURS = ("#2563eb", "#d97706")
INK, GREY, LINE = "#1f2937", "#6b7280", "#e5e7eb"
CHARACTER = 6.6  # width of a letter in these charts, about
LABEL_CHARACTERS = 36


@dataclass(frozen=True)
class IntervalRow:
    """A name and an interval for each series; None for a series without the figure."""

    name: str
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True)
class BarRow:
    """A name, a share (0 to 1) for each series, and a remark behind the bars."""

    name: str
    shares: tuple[float, ...]
    remark: str


def interval_chart(rows: Sequence[IntervalRow]) -> Markup:
    """Dots with whiskers on an axis from 0 to 1, one line a figure."""
    left, width, step = _label_room([row.name for row in rows]), 560, 30
    height = step * len(rows) + 28
    marks = _share_axis(left, width, height - 22)
    for number, row in enumerate(rows):
        y = step * number + 18
        marks.append(_label(row.name, left - 10, y + 4, "end"))
        for series, found in enumerate(row.intervals):
            if found is None:
                continue
            # Two series lie side by side, not on top of each other.
            at = y + (series - (len(row.intervals) - 1) / 2) * 9
            colour = COLOURS[series]
            x0, x1, x = (left + width * _clamped(v) for v in (found.low, found.high, found.value))
            bar: dict[str, str | int | float]
            bar = {"stroke": colour, "stroke-width": 5, "stroke-linecap": "round", "opacity": 0.3}
            title = element("title", None, f"{row.name}: {percent(found)}")
            marks.append(element("line", {"x1": x0, "x2": x1, "y1": at, "y2": at, **bar}, title))
            marks.append(element("circle", {"cx": x, "cy": at, "r": 4.5, "fill": colour}, title))
        first = next((found for found in row.intervals if found is not None), None)
        if first is not None:
            marks.append(_label(percent(first), left + width + 16, y + 4, "start", INK))
    return _svg(left + width + 190, height, marks)


def bar_chart(rows: Sequence[BarRow]) -> Markup:
    """Horizontal bars on an axis from 0 to 1, one line a label, a bar for each series."""
    left, width = _label_room([row.name for row in rows]), 560
    series = max((len(row.shares) for row in rows), default=1)
    thick = 16 if series == 1 else 9
    step = thick * series + 10
    height = step * len(rows) + 28
    marks = _share_axis(left, width, height - 22)
    for number, row in enumerate(rows):
        top = step * number + 6
        marks.append(_label(row.name, left - 10, top + thick * series / 2 + 4, "end"))
        for place, share in enumerate(row.shares):
            size = {"x": left, "y": top + place * thick, "rx": 2, "height": thick - 1}
            title = element("title", None, f"{row.name}: {100 * share:.1f} %")
            bar: dict[str, str | int | float]
            bar = {**size, "width": max(width * _clamped(share), 1.0), "fill": COLOURS[place]}
            marks.append(element("rect", bar, title))
        y = top + thick * series / 2 + 4
        marks.append(_label(row.remark, left + width + 16, y, "start", GREY))
    return _svg(left + width + 190, height, marks)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> Markup:
    """Counts of pairs; the colour is the share within the row.

    Args:
        rows: True labels.
        columns: Predicted labels.
        counts: Of (row, column); missing pairs are 0.
    """
    size = 38
    left, top = _label_room(rows), round(_label_room(columns) * 0.72) + 12
    marks = []
    for place, name in enumerate(columns):
        x = left + size * place + size / 2 + 4
        turned = {"transform": f"rotate(-45 {x:.1f} {top - 8})"}
        marks.append(_label(name, x, top - 8, "start", INK, turned))
    for line, row in enumerate(rows):
        y = top + size * line
        whole = sum(counts.get((row, column), 0) for column in columns)
        marks.append(_label(row, left - 10, y + size / 2 + 4, "end"))
        for place, column in enumerate(columns):
            count = counts.get((row, column), 0)
            share = count / whole if whole else 0.0
            x = left + size * place
            box = {"x": x + 1, "y": y + 1, "width": size - 2, "height": size - 2, "rx": 3}
            # Right answers blue, wrong ones red: the eye should find the errors.
            fill = _shade("#1d4ed8" if row == column else "#dc2626", share)
            said = column or "no label"
            title = element("title", None, f"{row}: {said} in {count:,} of {whole:,} cells")
            marks.append(element("rect", {**box, "fill": fill}, title))
            if count:
                ink = "#ffffff" if share > 0.5 else INK
                centre = x + size / 2, y + size / 2 + 4
                marks.append(_label(_short(count), *centre, "middle", ink, {"font-size": 11}))
    # Turned names stick out on the right.
    width = left + size * len(columns) + round(_label_room(columns) * 0.72)
    return _svg(width, top + size * len(rows) + 8, marks)


def histogram(values: Sequence[int], end: int, colour: str = COLOURS[0]) -> Markup:
    """How many values lie in each of at most 24 equal spans from 0 to `end`."""
    span = max(1, -(-end // 24))
    bins = [0] * max(1, -(-end // span))
    for value in values:
        bins[min(value // span, len(bins) - 1)] += 1
    width, height, left, most = 34, 150, 44, max(*bins, 1)
    marks = []
    for number, count in enumerate(bins):
        tall = height * count / most
        first, last = number * span, (number + 1) * span - 1
        where = f"{first}" if span == 1 else f"{first}-{last}"
        box = {"x": left + number * width, "y": 14 + height - tall, "width": width - 3}
        title = element("title", None, f"tokens {where}: {count:,} cells")
        marks.append(element("rect", {**box, "height": tall, "rx": 2, "fill": colour}, title))
        if number % 4 == 0:
            x = left + number * width + width / 2 - 2
            marks.append(_label(str(first), x, height + 32, "middle", GREY))
    base = {"x1": left - 4, "x2": left + width * len(bins), "y1": 14.5 + height}
    marks.append(element("line", {**base, "y2": 14.5 + height, "stroke": GREY}))
    marks.append(_label(f"{most:,}", left - 10, 20, "end", GREY))
    marks.append(_label("0", left - 10, 18 + height, "end", GREY))
    return _svg(left + width * len(bins) + 30, height + 42, marks)


def percent(interval: Interval) -> str:
    """A share and its interval in percent."""
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _share_axis(left: float, width: float, bottom: float) -> list[Markup]:
    marks = []
    for tick in range(0, 101, 20):
        x = left + width * tick / 100
        marks.append(element("line", {"x1": x, "x2": x, "y1": 4, "y2": bottom, "stroke": LINE}))
        marks.append(_label(f"{tick} %", x, bottom + 16, "middle", GREY))
    return marks


def _label(
    text: str,
    x: float,
    y: float,
    anchor: str,
    colour: str = INK,
    more: Mapping[str, str | int | float] | None = None,
) -> Markup:
    shown = text or "no label"
    if len(shown) > LABEL_CHARACTERS:
        shown = shown[: LABEL_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
    place = {"x": float(x), "y": float(y), "text-anchor": anchor, "fill": colour, **(more or {})}
    return element("text", place, element("title", None, text), shown)


def _label_room(names: Sequence[str]) -> int:
    longest = max((min(len(name or "no label"), LABEL_CHARACTERS) for name in names), default=0)
    return round(longest * CHARACTER) + 16


def _svg(width: float, height: float, marks: Sequence[Markup]) -> Markup:
    size = {"width": round(width), "height": round(height)}
    view = {"viewBox": f"0 0 {round(width)} {round(height)}", "role": "img"}
    return element("svg", {**size, **view, "font-size": 12.5}, *marks)


def _clamped(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _shade(colour: str, share: float) -> str:
    """A colour mixed with near-white; even a small share is seen."""
    if not share:
        return "#f3f4f6"
    weight = 0.12 + 0.88 * share
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * weight):02x}" for part in parts)


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
