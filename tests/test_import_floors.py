"""Imports point to lower floors only, so that no two rooms need each other.

A room is a folder, or the files that lie directly in one. Imports inside functions, those for type
checkers, and stages that a command names as text all count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import c2t

ROOT = Path(c2t.__file__).parent
# From the ground up. Rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("kernels",),
    ("runtime.system",),
    ("runtime.trust", "runtime.audit", "runtime.labels"),
    ("runtime.bundle", "runtime.graphs", "runtime.engine_protocol", "calibration.metrics"),
    (
        *("runtime.cells", "runtime.engines", "runtime.generation", "runtime.fields"),
        *("export.model", "export.graphs", "calibration.labels", "calibration.confidence"),
    ),
    ("runtime.explain", "runtime.joint"),
    (
        *("runtime.describe", "runtime.build", "runtime.command_line"),
        *("runtime.groups", "runtime.summary"),
        *("calibration.ranges", "calibration.results"),
        *("export.decoders", "export.encoders", "export.projectors"),
    ),
    (
        *("runtime.output", "runtime.bench", "runtime.qualify"),
        *("export.checkpoint", "export.parity", "export.peers"),
        *("calibration.quantise", "calibration.evaluate", "calibration.report"),
        "calibration.questions",
    ),
    (
        *("runtime.serve.room", "runtime.scale_out"),
        *("runtime.annotate", "runtime.ask", "runtime.report", "runtime.search"),
        "export.cell2sentence",
    ),
    ("runtime.serve.jobs", "runtime.scverse"),
    ("runtime.serve.http", "runtime.serve.sila", "runtime.serve.stdio"),
    ("runtime.commands", "runtime.serve", "export", "calibration"),
)


def modules() -> dict[str, Path]:
    """Every module of the four folders, by its name without `c2t.`."""
    folders = ("kernels", "runtime", "export", "calibration")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    found = {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}
    del found["runtime"]  # imports nothing, and would be a room for whatever has none
    return found


def imports(file: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and module of each import of ours."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if n.removeprefix("c2t.") in known else str(node.module) for n in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.removeprefix("c2t.") in known else []
        for name in names:
            if name.startswith("c2t."):
                yield node.lineno, name.removeprefix("c2t.")


def floor(module: str) -> tuple[int, str]:
    """Floor and room of a module: the room with the longest name that it lies in."""
    rooms = [(r, n) for n, rs in enumerate(FLOORS) for r in rs if f"{module}.".startswith(f"{r}.")]
    room, number = max(rooms, key=lambda found: len(found[0]), default=("", -1))
    assert room, f"{module} lies in no room of the plan"
    return number, room


def test_imports_point_to_lower_floors() -> None:
    known = modules()
    wrong = []
    for module, file in known.items():
        here, room = floor(module)
        for line, other in imports(file, known):
            there, target = floor(other)
            if target != room and there >= here:
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_import_circle() -> None:
    known = modules()
    graph = {m: {other for _, other in imports(f, known)} - {m} for m, f in known.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
