"""Figures of pages: read from `benchmarks/results`, never typed.

    <!--=int8_1b.json encoder/times_faster/PyTorch as x 1-->2.4x<!--/-->

One figure stands between two comments, which no reader of the page sees: where it comes from (a
file, the path to a number in it, and how it is written), and where it ends. So the pages show their
figures wherever Markdown is shown. `python docs/site/figures.py` writes them again; the site's
build and a test fail where a page and a result differ.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# No "|" in it: in a table it would end the cell, even within a comment.
_MARK = re.compile(r"<!--=(\S+\.json) ([^<>|]+?) as ([^<>|]+?)-->([^<>]*)<!--/-->")
_ANY = re.compile(r"<!--=")
# A line that begins with a comment is raw HTML: nothing else in it would be Markdown.
_OLD = re.compile(r"\{\{ \w+\.json ")
_AT_START = re.compile(r"^ {0,3}<!--=", re.MULTILINE)
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
    """A page has a figure that no benchmark has written."""


def current(text: str) -> str:
    """A page's text with the figures that the results have now.

    Raises:
        FigureError: A figure's place is not there or holds no number, or its comments are broken.
    """
    if len(_ANY.findall(text)) != len(_MARK.findall(text)):
        message = "a figure is not written as <!--=FILE.json PATH as FORM-->VALUE<!--/-->"
        raise FigureError(message)
    if _OLD.search(text):
        message = "a figure is written as {{ FILE.json ... }}, which nobody fills in"
        raise FigureError(message)
    if _AT_START.search(text):
        message = "a line begins with a figure: its Markdown would not be read as such"
        raise FigureError(message)

    def again(found: re.Match[str]) -> str:
        value = figure(found[1], found[2], found[3])
        return f"<!--={found[1]} {found[2]} as {found[3]}-->{value}<!--/-->"

    return _MARK.sub(again, text)


def checked(text: str) -> str:
    """A page's text without the comments around its figures.

    Raises:
        FigureError: A figure is not the one that the results have; see also `current`.
    """
    now = iter(_MARK.findall(current(text)))
    for file, path, form, shown in _MARK.findall(text):
        *_, value = next(now)
        if shown != value:
            message = f"{file}: {path} ({form}) is {value}, and the page has {shown!r}: "
            raise FigureError(message + "run `python docs/site/figures.py`")
    return _MARK.sub(lambda found: found[4], text)


def figure(file: str, path: str, form: str) -> str:
    """One figure as text.

    Args:
        file: Name of a file in `benchmarks/results`, or a path from the root of the repository.
        path: Names and places from the outside in, with "/" between them.
        form: A unit ("s", "ms", "x", "%", "MB", "GB", "min", "n", "bare%") and how many decimals;
            "e" for powers of ten ("1.8e-6"), "text" for a value that is written as it is, "count"
            for the length of a list.

    Raises:
        FigureError: The file or the path is not there, or holds no number.
    """
    value = _at(_read(file), path, file)
    if form == "text":
        return str(value)
    if form == "count" and isinstance(value, list):
        return f"{len(value):,}"
    unit, _, decimals = form.partition(" ")
    if unit == "e" and isinstance(value, float):
        return re.sub(r"e([-+])0", r"e\1", f"{value:.{int(decimals or 0)}e}")
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


def pages() -> Iterator[Path]:
    """All documents that may hold figures."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in ("docs", "capi", "examples", "benchmarks"):
        yield from sorted((ROOT / folder).rglob("*.md"))


def main() -> int:
    """Write the figures of all pages again; the exit code."""
    code = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        try:
            now = current(text)
        except FigureError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 1
            continue
        if now != text:
            path.write_text(now, encoding="utf-8", newline="\n")
            print(f"wrote {name}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
