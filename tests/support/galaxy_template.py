"""The few words of Cheetah that our Galaxy template is written in; anything else is an error.

Galaxy's own Cheetah gives the same command lines (`benchmarks/results/packaging_lint.txt`).
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

_NAME = re.compile(r"(?<!\\)\$([a-z_]+(?:\.[a-z_]+)*)")


def render(template: str, values: dict[str, Any]) -> str:
    """A template with `#if EXPRESSION`, `#end if` and `$names.with.dots`, as a command line."""
    lines, shown = [], [True]
    for line in template.strip().splitlines():
        words = line.strip()
        if words.startswith("#if "):
            code = _NAME.sub(r"\1", words.removeprefix("#if "))
            shown.append(shown[-1] and bool(eval(code, {"str": str}, dict(values))))
        elif words == "#end if":
            shown.pop()
        elif words.startswith("#"):
            raise ValueError(line)
        elif shown[-1]:
            found = _NAME.sub(lambda name: str(eval(name[1], {}, dict(values))), words)
            lines.append(found.replace("\\$", "$"))
    assert shown == [True]
    return " ".join(lines)


def namespace(values: dict[str, Any]) -> SimpleNamespace:
    """Values by name, as Galaxy gives those of a section; one that is None is an empty text."""
    return SimpleNamespace(**{name: "" if v is None else v for name, v in values.items()})
