"""The charts of a report. A mark shows its figures when the pointer rests on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from c2t.calibration.metrics.bootstrap import Interval
from c2t.calibration.results.calibration import Sensitivity
from c2t.runtime.system.svg import (
    AMBER,
    BLUE,
    FONT_SIZE,
    GREY,
    INK,
    LINE_HEIGHT,
    Attributes,
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

# The judged bundle, and the one it is compared with.
COLOURS = (BLUE, AMBER)
LABEL_WIDTH = 300  # pixels, after which a name goes on in the next line
LETTERS = FONT_SIZE * LINE_HEIGHT
NO_LABEL = "no label"
MANY_COLUMNS = 16  # more are drawn narrower, to fit on a page


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
    names, width = RowLabels([row.name for row in rows], least=30), 560
    left = names.room
    marks = _share_axis(left, width, names.height + 6)
    for number, row in enumerate(rows):
        y = names.middle(number) + 3
        marks += names.marks(number, 3)
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
            marks.append(text(percent(first), (left + width + 16, y + 4)))
    return picture((left + width + 190, names.height + 28), marks, font_size=FONT_SIZE)


def bar_chart(rows: Sequence[BarRow]) -> Markup:
    """Horizontal bars on an axis from 0 to 1, one line a label, a bar for each series."""
    series = max((len(row.shares) for row in rows), default=1)
    thick = 16 if series == 1 else 9
    names, width = RowLabels([row.name for row in rows], least=thick * series + 10), 560
    left = names.room
    marks = _share_axis(left, width, names.height + 6)
    for number, row in enumerate(rows):
        middle = names.middle(number)
        top = middle - thick * series / 2
        marks += names.marks(number)
        for place, share in enumerate(row.shares):
            size = max(width * _clamped(share), 1.0), thick - 1
            title = f"{row.name}: {100 * share:.1f} %"
            marks.append(bar((left, top + place * thick), size, COLOURS[place], title=title))
        marks.append(text(row.remark, (left + width + 16, middle + 4), GREY))
    return picture((left + width + 190, names.height + 28), marks, font_size=FONT_SIZE)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> Markup:
    """Counts of pairs; the colour is the share within the row.

    Args:
        rows: True labels.
        columns: Predicted labels; "" is a text without a label.
        counts: (row, column) -> cells; a missing pair is 0.
    """
    size = 38 if len(columns) <= MANY_COLUMNS else 30
    names = RowLabels([row or NO_LABEL for row in rows], least=size)
    above = [_turned_lines(column or NO_LABEL) for column in columns]
    # A name that is turned by half a right angle is 0.71 of its length high.
    longest = max((text_width(line, FONT_SIZE) for lines in above for line in lines), default=0)
    left, top = names.room, round(longest * 0.71) + 24
    marks: list[Markup] = []
    for place, (column, lines) in enumerate(zip(columns, above, strict=True)):
        for number, words in enumerate(lines):
            x = left + size * place + size / 2 + 4 + number * LETTERS * 1.41
            marks.append(text(words, (x, top - 8), turned=-45, title=column))
    for number, row in enumerate(rows):
        y = top + names.middle(number) - size / 2
        whole = sum(counts.get((row, column), 0) for column in columns)
        marks += names.marks(number, top)
        for place, column in enumerate(columns):
            count = counts.get((row, column), 0)
            share = count / whole if whole else 0.0
            x = left + size * place
            # Right answers are blue and wrong ones red, so that errors stand out.
            fill = _shade("#1d4ed8" if row == column else "#dc2626", share)
            said = column or NO_LABEL
            title = f"{row}: {said} in {count:,} of {whole:,} cells"
            box = (size - 2, size - 2)
            marks.append(bar((x + 1, y + 1), box, fill, radius=3, title=title))
            if count:
                ink = "#ffffff" if share > 0.5 else INK
                centre = x + size / 2, y + size / 2 + 4
                marks.append(text(_short(count), centre, ink, anchor="middle", size=11))
    width = left + size * len(columns)
    return picture((width, top + names.height + 8), marks, font_size=FONT_SIZE)


def histogram(values: Sequence[int], end: int) -> Markup:
    """How many values lie in each of at most 24 equal spans from 0 to `end`."""
    span = max(1, -(-end // 24))
    bins = [0] * max(1, -(-end // span))
    for value in values:
        bins[min(value // span, len(bins) - 1)] += 1
    width, height, left, most = 34, 150, 44, max(*bins, 1)
    marks: list[Markup] = []
    for number, count in enumerate(bins):
        tall = height * count / most
        first, last = number * span, (number + 1) * span - 1
        where = f"{first}" if span == 1 else f"{first}-{last}"
        x, title = left + number * width, f"tokens {where}: {count:,} cells"
        marks.append(bar((x, 14 + height - tall), (width - 3, tall), COLOURS[0], title=title))
        if number % 4 == 0:
            at = x + width / 2 - 2, height + 32
            marks.append(text(str(first), at, GREY, anchor="middle"))
    base = 14.5 + height
    marks.append(line((left - 4, base), (left + width * len(bins), base), GREY))
    marks.append(text(f"{most:,}", (left - 10, 20), GREY, anchor="end"))
    marks.append(text("0", (left - 10, 18 + height), GREY, anchor="end"))
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


class RowLabels:
    """Names before the rows of a chart: whole, in as many lines as they need.

    Args:
        names: From top to bottom.
        least: Height of a row whose name has one line.

    Attributes:
        room: Pixels to the left of the chart.
        height: Of all rows.
    """

    def __init__(self, names: Sequence[str], *, least: float) -> None:
        self._names = [name or NO_LABEL for name in names]
        self._lines = [wrapped(name, LABEL_WIDTH, FONT_SIZE) for name in self._names]
        widths = [text_width(line, FONT_SIZE) for lines in self._lines for line in lines]
        self.room = round(max(widths, default=0)) + 16
        self._tops = [0.0]
        for lines in self._lines:
            self._tops.append(self._tops[-1] + max(least, len(lines) * LETTERS + 8))
        self.height = self._tops[-1]

    def middle(self, number: int) -> float:
        """Distance of the middle of a row from the top of the first."""
        return (self._tops[number] + self._tops[number + 1]) / 2

    def marks(self, number: int, top: float = 0) -> list[Markup]:
        """The lines of a row's name."""
        lines = self._lines[number]
        first = top + self.middle(number) + 4 - (len(lines) - 1) * LETTERS / 2
        return [
            text(
                words,
                (self.room - 10, first + place * LETTERS),
                anchor="end",
                title=self._names[number],
            )
            for place, words in enumerate(lines)
        ]


def _turned_lines(name: str) -> list[str]:
    """A name above a column, in at most two lines: more would run into the next column's."""
    whole = text_width(name, FONT_SIZE)
    width = max(LABEL_WIDTH, whole / 2)
    lines = wrapped(name, width, FONT_SIZE)
    while len(lines) > 2:
        width *= 1.1
        lines = wrapped(name, width, FONT_SIZE)
    return lines


def _share_axis(left: float, width: float, bottom: float) -> list[Markup]:
    marks: list[Markup] = []
    for tick in range(0, 101, 20):
        x = left + width * tick / 100
        marks.append(line((x, 4), (x, bottom)))
        marks.append(text(f"{tick} %", (x, bottom + 16), GREY, anchor="middle"))
    return marks


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
