"""The charts of a report. A mark shows its figures when the pointer rests on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.results.calibration import Sensitivity
from c2t.runtime.system.svg import (
    AMBER,
    BLUE,
    GREY,
    INK,
    Attributes,
    Markup,
    bar,
    dot,
    element,
    line,
    picture,
    text,
)

# The judged bundle, and the one it is compared with.
COLOURS = (BLUE, AMBER)
FONT_SIZE = 12.5
CHARACTER = 6.6  # mean width of a letter, in pixels
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
        marks.append(_label(row.name, (left - 10, y + 4), "end"))
        for series, interval in enumerate(row.intervals):
            if interval is None:
                continue
            # Two series lie side by side, not on top of each other.
            at = y + (series - (len(row.intervals) - 1) / 2) * 9
            colour = COLOURS[series]
            x0, x1, x = (
                left + width * _clamped(v) for v in (interval.low, interval.high, interval.value)
            )
            title = f"{row.name}: {percent(interval)}"
            whisker: Attributes = {
                **{"x1": x0, "x2": x1, "y1": at, "y2": at},
                **{"stroke": colour, "stroke-width": 5, "stroke-linecap": "round", "opacity": 0.3},
            }
            marks.append(element("line", whisker, element("title", None, title)))
            marks.append(dot((x, at), 4.5, colour, title=title))
        first = next((interval for interval in row.intervals if interval is not None), None)
        if first is not None:
            marks.append(_label(percent(first), (left + width + 16, y + 4), "start"))
    return picture((left + width + 190, height), marks, font_size=FONT_SIZE)


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
        marks.append(_label(row.name, (left - 10, top + thick * series / 2 + 4), "end"))
        for place, share in enumerate(row.shares):
            size = max(width * _clamped(share), 1.0), thick - 1
            title = f"{row.name}: {100 * share:.1f} %"
            marks.append(bar((left, top + place * thick), size, COLOURS[place], title=title))
        y = top + thick * series / 2 + 4
        marks.append(_label(row.remark, (left + width + 16, y), "start", GREY))
    return picture((left + width + 190, height), marks, font_size=FONT_SIZE)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> Markup:
    """Counts of pairs; the colour is the share within the row.

    Args:
        rows: True labels.
        columns: Predicted labels; "" is a text without a label.
        counts: (row, column) -> cells; a missing pair is 0.
    """
    size = 38
    left, top = _label_room(rows), round(_label_room(columns) * 0.72) + 12
    marks = []
    for place, name in enumerate(columns):
        x = left + size * place + size / 2 + 4
        marks.append(_label(name, (x, top - 8), "start", turned=-45))
    for number, row in enumerate(rows):
        y = top + size * number
        whole = sum(counts.get((row, column), 0) for column in columns)
        marks.append(_label(row, (left - 10, y + size / 2 + 4), "end"))
        for place, column in enumerate(columns):
            count = counts.get((row, column), 0)
            share = count / whole if whole else 0.0
            x = left + size * place
            # Right answers are blue and wrong ones red, so that errors stand out.
            fill = _shade("#1d4ed8" if row == column else "#dc2626", share)
            said = column or "no label"
            title = f"{row}: {said} in {count:,} of {whole:,} cells"
            box = (size - 2, size - 2)
            marks.append(bar((x + 1, y + 1), box, fill, radius=3, title=title))
            if count:
                ink = "#ffffff" if share > 0.5 else INK
                centre = x + size / 2, y + size / 2 + 4
                marks.append(_label(_short(count), centre, "middle", ink, size=11))
    # Turned names stick out on the right.
    width = left + size * len(columns) + round(_label_room(columns) * 0.72)
    return picture((width, top + size * len(rows) + 8), marks, font_size=FONT_SIZE)


def histogram(values: Sequence[int], end: int) -> Markup:
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
        x, title = left + number * width, f"tokens {where}: {count:,} cells"
        marks.append(bar((x, 14 + height - tall), (width - 3, tall), COLOURS[0], title=title))
        if number % 4 == 0:
            marks.append(_label(str(first), (x + width / 2 - 2, height + 32), "middle", GREY))
    base = 14.5 + height
    marks.append(line((left - 4, base), (left + width * len(bins), base), GREY))
    marks.append(_label(f"{most:,}", (left - 10, 20), "end", GREY))
    marks.append(_label("0", (left - 10, 18 + height), "end", GREY))
    size = left + width * len(bins) + 30, height + 42
    return picture(size, marks, font_size=FONT_SIZE)


def sensitivity_chart(items: Sequence[Sensitivity]) -> Markup:
    """Bars of noise in dB below the signal; a lower bar is a more sensitive linear."""
    step, height, left, top = 14, 180, 56, 12
    ordered = sorted(items, key=lambda item: item.sqnr)
    most = max((item.sqnr for item in ordered), default=1.0)
    width = step * len(ordered)
    marks = []
    for tick in range(0, int(most) + 1, 10):
        y = top + height * (1 - tick / most)
        marks.append(line((left, y), (left + width, y)))
        marks.append(text(f"{tick} dB", (left - 8, y + 4), GREY, anchor="end"))
    for number, item in enumerate(ordered):
        tall = max(1.0, height * max(item.sqnr, 0.0) / most)
        title = f"{item.graph} {item.linear}: {item.sqnr:.1f} dB"
        at = left + step * number, top + height - tall
        marks.append(bar(at, (step - 3, tall), BLUE, title=title))
    return picture((left + width + 20, top + height + 12), marks)


def percent(interval: Interval) -> str:
    """A share and its interval in percent."""
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _share_axis(left: float, width: float, bottom: float) -> list[Markup]:
    marks = []
    for tick in range(0, 101, 20):
        x = left + width * tick / 100
        marks.append(line((x, 4), (x, bottom)))
        marks.append(_label(f"{tick} %", (x, bottom + 16), "middle", GREY))
    return marks


def _label(
    words: str,
    at: tuple[float, float],
    anchor: str,
    colour: str = INK,
    *,
    size: float | None = None,
    turned: float = 0,
) -> Markup:
    """Words, cut where they are too long; the title has all of them."""
    shown = words or "no label"
    if len(shown) > LABEL_CHARACTERS:
        shown = shown[: LABEL_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return text(shown, at, colour, anchor=anchor, size=size, turned=turned, title=words)


def _label_room(names: Sequence[str]) -> int:
    longest = max((min(len(name or "no label"), LABEL_CHARACTERS) for name in names), default=0)
    return round(longest * CHARACTER) + 16


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
