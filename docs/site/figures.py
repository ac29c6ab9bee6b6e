"""Figures of pages: read from `benchmarks/results`, never typed.

    {{ int8_1b.json encoder/times_faster/PyTorch | x 1 }}

stands for one number of one file: the path to it, then how it is written. A file, a name or a form
that is not there ends the build.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_MARK = re.compile(r"\{\{ *(\S+\.json) +([^|{}]+?) *\| *([^{}]+?) *\}\}")
# What a value is multiplied by, and what stands behind it.
_UNITS = {
    "s": (1, " s"),
    "ms": (1e3, " ms"),
    "x": (1, "x"),
    "%": (100, " %"),
    "MB": (1e-6, " MB"),
    "GB": (1e-9, " GB"),
    "min": (1 / 60, " min"),
    "n": (1, ""),
    "bare%": (1, " %"),
}


class FigureError(Exception):
    """A page names a figure that no benchmark has written."""


def fill_figures(text: str) -> str:
    """A page with its figures.

    Raises:
        FigureError: One of them is not there, or is no number.
    """
    return _MARK.sub(lambda found: figure(found[1], found[2], found[3]), text)


def figure(file: str, path: str, form: str) -> str:
    """One figure as text.

    Args:
        file: Name of a file in `benchmarks/results`, or a path from the root of the repository.
        path: Names and places from the outside in, with "/" between them.
        form: A unit ("s", "ms", "x", "%", "MB", "GB", "min", "n", "bare%") and how many decimals;
            "text" for a value that is written as it is, "count" for the length of a list.

    Raises:
        FigureError: The file or the path is not there, or holds no number.
    """
    value = _at(_read(file), path, file)
    if form == "text":
        return str(value)
    if form == "count" and isinstance(value, list):
        return f"{len(value):,}"
    unit, _, decimals = form.partition(" ")
    if unit not in _UNITS or isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{file}: {path}: {value!r} cannot be written as {form!r}"
        raise FigureError(message)
    factor, behind = _UNITS[unit]
    return f"{value * factor:,.{int(decimals or 0)}f}{behind}"


@cache
def _read(file: str) -> Any:
    path = ROOT / file if "/" in file else RESULTS / file
    if not path.is_file():
        message = f"there is no {path}"
        raise FigureError(message)
    return json.loads(path.read_text(encoding="utf-8"))


def _at(value: Any, path: str, file: str) -> Any:
    for name in path.split("/"):
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, ValueError, TypeError):
            message = f"{file} has no {path}: nothing is called {name!r}"
            raise FigureError(message) from None
    return value
