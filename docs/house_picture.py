"""The picture of the rooms: a house as an SVG, with the marks of the journeys in its rooms.

Colours follow the reader's light or dark scheme; the picture brings its own background along.
All lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rooms_from_code import FLOORS, Room

WIDTH, EDGE, GAP, PAD = 1040, 20, 8, 11
LABEL = 26  # the column of the floors' numbers
ROOF = 84
NAME, TEXT, SMALL, MARK = 15.0, 12.5, 11.5, 11.0  # sizes of type
LINE = 16.5
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
# Where each part of the project stands, and how many rooms of it lie side by side.
PARTS = {"export": 1, "runtime": 2, "calibration": 1}
ROW = 4  # most rooms side by side

# Colours by class: fill, and the outline where there is one.
LIGHT = {
    "paper": "#ffffff",
    "roof": "#39434f",
    "floor": "#f0f2f5",
    "number": "#8a94a0",
    "name": "#1b2430",
    "text": "#38424e",
    "faint": "#68727e",
    "kernels": "#fff3dc #e3b45c",
    "runtime": "#e8f1fd #86b0e6",
    "export": "#e7f5ea #82bd92",
    "calibration": "#f2ecfb #b59bdc",
    "A": "#c42a4e",
    "B": "#0b7a5e",
    "C": "#6a3fc0",
    "D": "#9a5b00",
    "on-dark": "#ffffff",
}
DARK = {
    "paper": "#12161c",
    "roof": "#2f3844",
    "floor": "#1b2129",
    "number": "#7b8693",
    "name": "#f0f3f6",
    "text": "#ccd4dc",
    "faint": "#9aa5b1",
    "kernels": "#352a14 #8c6a27",
    "runtime": "#172a44 #3f6ca8",
    "export": "#16301f #3c7a50",
    "calibration": "#2a2040 #6f55a3",
    "A": "#d2395f",
    "B": "#158a6b",
    "C": "#7d55d3",
    "D": "#a9681a",
}


@dataclass(frozen=True)
class House:
    """What is drawn.

    Args:
        rooms: From the ground up.
        marks: Marks of a room by its name: "A1", "B3-5".
        legend: Titles of the journeys by their letters.
        roof: What stands in the roof.
    """

    rooms: Sequence[Room]
    marks: Mapping[str, Sequence[str]]
    legend: Mapping[str, str]
    roof: str


def draw_house(house: House) -> str:
    """The whole picture."""
    parts = [_roof(house.roof)]
    y = float(EDGE + ROOF)
    for number in reversed(range(len(FLOORS))):
        rooms = [room for room in house.rooms if room.floor == number]
        boxes, height = _floor(rooms, y + GAP, house.marks)
        parts.append(_rectangle(EDGE, y, WIDTH - 2 * EDGE, height + 2 * GAP, "floor", radius=4))
        parts.append(
            _text(
                EDGE + LABEL / 2,
                y + GAP + height / 2 + 6,
                str(number),
                "number",
                15,
                bold=True,
                anchor="middle",
            )
        )
        parts += boxes
        y += height + 2 * GAP + 3
    parts.append(_legend(y + 22, house.legend))
    height = y + 22 + EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}" role="img" font-family="{escape(FONT)}">\n'
        f"<title>The rooms of c2t on their floors</title>\n<style>\n{_rules(LIGHT)}"
        f"@media (prefers-color-scheme: dark) {{\n{_rules(DARK)}}}\n</style>\n"
        + _rectangle(0, 0, WIDTH, height, "paper", radius=10)
        + f"{''.join(parts)}</svg>\n"
    )


def _rules(colours: Mapping[str, str]) -> str:
    rules = []
    for kind, colour in colours.items():
        fill, _, stroke = colour.partition(" ")
        rules.append(f".{kind} {{ fill: {fill}" + f"; stroke: {stroke}" * bool(stroke) + " }\n")
    return "".join(rules)


def _roof(text: str) -> str:
    edge = EDGE + ROOF - 6
    gable = f"M{WIDTH / 2:g} {EDGE} L{WIDTH - EDGE} {edge} H{EDGE} Z"
    return (
        f'<path d="{gable}" class="roof"/>\n'
        + _text(WIDTH / 2, edge - 32, "c2t", "on-dark", 20, bold=True, anchor="middle")
        + _text(WIDTH / 2, edge - 12, text, "on-dark", TEXT, anchor="middle")
    )


def _legend(y: float, titles: Mapping[str, str]) -> str:
    parts = [_text(EDGE, y, "Imports point to lower floors only.", "text", TEXT)]
    x = float(WIDTH - EDGE)
    for letter, title in reversed(list(titles.items())):
        parts.append(_text(x, y, title, "name", TEXT, anchor="end"))
        x -= _text_width(title, TEXT) + _mark_width(letter) + 6
        parts.append(_mark(x, y - 12.5, letter))
        x -= 18
    return "".join(parts)


@dataclass(frozen=True)
class _Box:
    """A room in the picture."""

    room: Room
    width: float
    marks: Sequence[str]

    @property
    def lines(self) -> list[tuple[str, str, float]]:
        """Class, text and size of each line below the name."""
        inside = self.width - 2 * PAD
        folders = " · ".join(f"{name}/" for name, _ in self.room.folders)
        return [
            *(
                ("text", line, TEXT)
                for line in _wrapped(self.room.purpose.replace("`", ""), inside, TEXT)
            ),
            *(("faint", line, SMALL) for line in _wrapped(folders, inside, SMALL)),
        ]

    @property
    def marks_below(self) -> bool:
        """Whether the marks have no place beside the name."""
        wide = 1.08 * _text_width(self.room.name, NAME) + PAD + _marks_width(self.marks)  # bold
        return bool(self.marks) and wide > self.width - 2 * PAD

    @property
    def height(self) -> float:
        """Height of all that is written."""
        return PAD + NAME + (len(self.lines) + self.marks_below) * LINE + PAD

    def draw(self, x: float, y: float, height: float) -> str:
        """The box with its top left corner at (x, y), stretched to a height."""
        folder, _, name = self.room.name.rpartition(".")
        prefix = folder.replace(".", "/") + "/" * bool(folder)
        line = y + PAD + NAME - 3
        title = (
            f'<text x="{x + PAD:g}" y="{line:g}" font-size="{NAME:g}" font-weight="600">'
            f'<tspan class="faint" font-weight="400">{prefix}</tspan>'
            f'<tspan class="name">{name}</tspan></text>\n'
        )
        parts = [_rectangle(x, y, self.width, height, self.room.part, radius=7), title]
        at = x + self.width - PAD - _marks_width(self.marks)
        if self.marks_below:
            line += LINE + 2
            at = x + PAD
        for mark in self.marks:
            parts.append(_mark(at, line - 12.5, mark))
            at += _mark_width(mark) + 4
        for kind, text, size in self.lines:
            line += LINE + 0.5
            parts.append(_text(x + PAD, line + 2, text, kind, size))
        return "".join(parts)


def _floor(
    rooms: Sequence[Room], top: float, marks: Mapping[str, Sequence[str]]
) -> tuple[list[str], float]:
    """The rooms of one floor, and its height: parts beside each other, each in rows."""
    parts = {room.part for room in rooms}
    # Rooms of a part that has the floor to itself share all of its width.
    alone = len(parts) == 1 or not parts <= PARTS.keys()
    places = {"": min(len(rooms), ROW)} if alone else PARTS
    unit = (WIDTH - 2 * EDGE - LABEL) / sum(places.values())

    def rows_of(part: str, count: int) -> list[list[_Box]]:
        here = [room for room in rooms if part in ("", room.part)]
        rows = [here[first : first + count] for first in range(0, len(here), count)]
        width = places[part] * unit
        return [
            [_Box(room, width / len(row) - GAP, marks.get(room.name, ())) for room in row]
            for row in rows
        ]

    height = max(_height(rows_of(part, count)) for part, count in places.items())
    drawn, left = [], float(EDGE + LABEL)
    for part, most in places.items():
        # As few beside each other as the height allows.
        stacks = (rows_of(part, count) for count in range(1, most + 1))
        rows = next(stack for stack in stacks if _height(stack) <= height)
        spare = (height - _height(rows)) / max(len(rows), 1)
        y = top
        for row in rows:
            full = max(box.height for box in row) + spare
            for place, box in enumerate(row):
                drawn.append(box.draw(left + place * (box.width + GAP), y, full))
            y += full + GAP
        left += most * unit
    return drawn, height


def _height(rows: Sequence[Sequence[_Box]]) -> float:
    return sum(max(box.height for box in row) + GAP for row in rows) - GAP


def _mark(x: float, y: float, mark: str) -> str:
    width = _mark_width(mark)
    label = _text(x + width / 2, y + 12.5, mark, "on-dark", MARK, bold=True, anchor="middle")
    return _rectangle(x, y, width, 17, mark[0], radius=8.5) + label


def _mark_width(mark: str) -> float:
    return _text_width(mark, MARK) + 13


def _marks_width(marks: Sequence[str]) -> float:
    return sum(_mark_width(mark) + 4 for mark in marks) - 4


def _rectangle(x: float, y: float, width: float, height: float, kind: str, *, radius: float) -> str:
    return (
        f'<rect x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:.5g}" '
        f'rx="{radius:g}" class="{kind}"/>\n'
    )


def _text(
    x: float,
    y: float,
    text: str,
    kind: str,
    size: float,
    *,
    bold: bool = False,
    anchor: str = "start",
) -> str:
    weight = ' font-weight="600"' if bold else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{x:.5g}" y="{y:.5g}" class="{kind}" font-size="{size:g}"{weight}{place}>'
        f"{escape(text)}</text>\n"
    )


def _text_width(text: str, size: float) -> float:
    """About how wide a text is in DejaVu Sans, the widest typeface that a reader may have."""
    em = 0.0
    for character in text:
        if character in "iljtfrI.,:;'|!() ":
            em += 0.36
        elif character in "mwMW@":
            em += 0.93
        else:
            em += 0.7 if character.isupper() else 0.61
    return em * size


def _wrapped(text: str, width: float, size: float) -> list[str]:
    """The lines of a text that is to be no wider than this; none for an empty text."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
