"""The scripts in `benchmarks/` name things of the package that are there: few of them run in CI."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def names_in(module: str) -> set[str]:
    """The names that a module defines or imports, and its sub-modules."""
    place = ROOT / module.removeprefix("c2t.").replace(".", "/")
    file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    names = {path.stem for path in place.glob("*.py")}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


@pytest.mark.parametrize(
    "script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_imports_of_a_script(script: Path) -> None:
    missing = [
        f"{script.name}:{node.lineno}: {node.module}.{alias.name}"
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("c2t.")
        for alias in node.names
        if alias.name not in names_in(str(node.module))
    ]
    assert not missing, "\n".join(missing)
