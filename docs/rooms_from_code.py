"""What the architecture page says of the code: rooms, their purposes and imports, and functions.

Sources are parsed, never imported, so that no training library is needed here. The floors come
from `tests/test_import_floors.py`.
"""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
_FLOOR_TEST = runpy.run_path(str(ROOT / "tests" / "test_import_floors.py"))
FLOORS: tuple[tuple[str, ...], ...] = _FLOOR_TEST["FLOORS"]


@dataclass(frozen=True)
class Room:
    """A folder, or a file, on one of the floors."""

    name: str  # "runtime.cells"
    floor: int
    path: Path
    purpose: str
    folders: tuple[tuple[str, str], ...]  # name and purpose of the folders within
    imports: tuple[str, ...]  # names of the rooms that it imports

    @property
    def part(self) -> str:
        """The top-level folder."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Step:
    """A function or class that a journey passes through."""

    room: str
    name: str
    path: Path
    purpose: str


def read_rooms() -> list[Room]:
    """All rooms, from the ground up."""
    imports = _imports_of_rooms()
    return [
        Room(
            name=name,
            floor=number,
            path=path.relative_to(ROOT),
            purpose=purpose_of(path / "__init__.py" if path.is_dir() else path),
            folders=tuple(_folders_within(path, name)),
            imports=tuple(sorted(imports.get(name, ()))),
        )
        for number, names in enumerate(FLOORS)
        for name in names
        if (path := _path_of(name)) is not None
    ]


def find_step(step: str) -> Step:
    """Find "room:name" or "room:Class.method", in whichever file of the room it is."""
    room, _, name = step.partition(":")
    found = [(f, node) for f in _files_of(room) for node in _definitions(_parse(f).body, name)]
    if len(found) != 1:
        places = ", ".join(str(f.relative_to(ROOT)) for f, _ in found) or "no file of that room"
        _fail(f"a journey names {step}, which is defined in {places}", "correct JOURNEYS")
    file, node = found[0]
    return Step(room, name, file.relative_to(ROOT), _first_line(node, step))


def purpose_of(file: Path) -> str:
    """First line of a file's docstring."""
    return _first_line(_parse(file), file.relative_to(ROOT))


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef, where: object) -> str:
    text = ast.get_docstring(node)
    if not text:
        _fail(f"{where} has no docstring", "say in one line what it is for")
    return text.splitlines()[0]


def _imports_of_rooms() -> dict[str, set[str]]:
    known = _FLOOR_TEST["modules"]()
    imports: dict[str, set[str]] = {}
    for module, file in known.items():
        rooms = {_room_of(other) for _, other in _FLOOR_TEST["imports"](file, known)}
        imports.setdefault(_room_of(module), set()).update(rooms - {"", _room_of(module)})
    return imports


def _room_of(module: str) -> str:
    """The room with the longest name that a module lies in; "" for none."""
    rooms = [name for names in FLOORS for name in names if f"{module}.".startswith(f"{name}.")]
    return max(rooms, key=len, default="")


def _path_of(room: str) -> Path | None:
    """The folder or file of a room; None for one that is planned."""
    folder = ROOT.joinpath(*room.split("."))
    return next((p for p in (folder, folder.with_suffix(".py")) if p.exists()), None)


def _folders_within(path: Path, room: str) -> Iterator[tuple[str, str]]:
    """Folders within a room that are not rooms themselves."""
    for source in sorted(path.glob("*/__init__.py")):
        folder = source.parent.name
        if _room_of(f"{room}.{folder}") == room:
            yield folder, purpose_of(source)


def _files_of(room: str) -> list[Path]:
    """Sources of a room, without those of rooms within it."""
    return [file for module, file in _FLOOR_TEST["modules"]().items() if _room_of(module) == room]


def _definitions(body: list[ast.stmt], name: str) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Definitions of a dotted name."""
    first, _, rest = name.partition(".")
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == first:
            if not rest:
                yield node
            elif isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, rest)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _fail(problem: str, hint: str) -> NoReturn:
    sys.exit(f"error: {problem}\nhint: {hint}")
