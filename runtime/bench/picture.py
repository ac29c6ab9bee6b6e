"""A benchmark as a picture: groups of horizontal bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2t.runtime.system.svg import (
    BLUE,
    FONT_SIZE,
    GREY,
    LINE_HEIGHT,
    SILVER,
    bar,
    picture,
    text,
    text_width,
    wrapped,
)

OURS, OTHERS = BLUE, SILVER
WIDTH, LEFT, BAR, STEP, GAP = 860, 220, 18, 26, 46
NOTES = 11  # height of the letters of the notes
ROOM = 190  # after the longest bar, for its words


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, and the words after it."""

    name: str
    value: float
    words: str


@dataclass(frozen=True)
class BarGroup:
    """Bars of one scale.

    Args:
        title: Above the bars.
        bars: From top to bottom.
        all_ours: Whether all have this package's colour, whatever their names.
    """

    title: str
    bars: tuple[Bar, ...]
    all_ours: bool = False


def bench_picture(document: dict[str, Any]) -> str:
    """The picture of what `bench_bundle` measured."""
    latency, rates, decoder = document["latency"], document["throughput"], document["decoder"]
    beams = f", {latency['beams']} beams" if latency["beams"] > 1 else ""
    stages = document["stages"]["seconds"]
    groups = [
        _times(f"one description{beams}: seconds, less is better", latency),
        BarGroup(
            "many cells: cells a second, more is better",
            tuple(
                Bar(name, rate, f"{rate:.3g}" + _times_words(rates["times_faster_than"].get(name)))
                for name, rate in rates["cells_per_second"].items()
            ),
        ),
        BarGroup(
            "where the time of one description goes (c2t)",
            tuple(Bar(name, t["p50"], _seconds(t["p50"])) for name, t in stages.items()),
            all_ours=True,
        ),
        _times(
            f"decoder: prompt of {decoder['prompt_tokens']} tokens, less is better",
            decoder["prefill"],
        ),
        _times(
            "decoder: one token, less is better",
            decoder["step"],
            floor=decoder["weight_bytes"] / decoder["read_bytes_per_second"],
        ),
    ]
    machine = document["machine"]
    notes = (
        f"{machine['cpu']}, {document['threads']} threads; medians, contestants in turns; load"
        f" {document['load_before']} before, {document['load_after']} after; {document['date']}"
    )
    title = f"{document['bundle']['name']} ({document['bundle']['precision']})"
    return bar_picture(title, notes, groups)


def bar_picture(title: str, notes: str, groups: Sequence[BarGroup]) -> str:
    """Groups of bars, one under another, as an SVG document."""
    marks = [text(title, (24, 34), size=18, bold=True)]
    y = 56.0
    for words in wrapped(notes, WIDTH - 48, NOTES):
        marks.append(text(words, (24, y), GREY, size=NOTES))
        y += NOTES * LINE_HEIGHT
    names = [one.name for group in groups for one in group.bars]
    left = max(LEFT, *(round(text_width(name, FONT_SIZE)) + 24 for name in names), 0)
    y += 7
    for group in groups:
        y += 22
        marks.append(text(group.title, (24, y), size=13, bold=True))
        y += 10
        longest = max((one.value for one in group.bars), default=0) or 1
        for one in group.bars:
            length = max(1.0, one.value / longest * (WIDTH - LEFT - ROOM))
            colour = OURS if group.all_ours or one.name.startswith("c2t") else OTHERS
            middle = y + BAR - 5
            marks.append(text(one.name, (left - 10, middle), anchor="end"))
            marks.append(bar((left, y), (length, BAR), colour, radius=3))
            marks.append(text(one.words, (left + length + 8, middle), GREY))
            y += STEP
        y += GAP - STEP
    return picture((WIDTH, y), marks, whole_file=True)


def _times(title: str, part: dict[str, Any], *, floor: float | None = None) -> BarGroup:
    bars = [
        Bar(
            name,
            seconds["p50"],
            _seconds(seconds["p50"]) + _times_words(part["times_faster_than"].get(name)),
        )
        for name, seconds in part["seconds"].items()
    ]
    if floor is not None:
        bars.append(Bar("reading the weights once", floor, _seconds(floor)))
    return BarGroup(title, tuple(bars))


def _times_words(ratio: float | None) -> str:
    return "" if ratio is None else f" (c2t: {ratio:.1f}x as fast)"


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.3g} µs"
