"""Where libc2t lies, and the programs that its tests need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import c2t

CAPI = Path(c2t.__file__).parent / "capi"
HERE = Path(__file__).parents[1] / "capi"
CHECKS = HERE / "checks.c"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic")
SOURCES = sorted(map(str, (CAPI / "src").rglob("*.c")))


def need(*programs: str) -> None:
    """Skip a test, by name, where a program is absent."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def parts_of(program: Path) -> list[Path]:
    """The files of a program: `checks.c`, `checks_calls.c` and so on."""
    return [program, *sorted(program.parent.glob(f"{program.stem}_*.c"))]
