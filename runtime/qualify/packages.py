"""Which installed packages c2t runs on: those it requires, and those that they require.

One decision: the metadata of the installed packages is asked, as pip does, with a reader of our own
for requirements: an instrument has no packaging library. A requirement with a condition counts
where its package is installed; one without must be installed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

# Extras that describe cells or serve them. Others, as those of an export, are not run.
RUN_EXTRAS = ("cpu", "gpu", "tensorrt", "rtx", "parquet", "serve", "sila", "trust", "dask")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is installed here.

    Attributes:
        every: All packages, by their normal names; of two with one name, that which is imported.
        running: Normal names of those that c2t runs on, in order.
        missing: A sentence for each that is required and not installed.
    """

    every: dict[str, Distribution]
    running: tuple[str, ...]
    missing: tuple[str, ...]


def look_at_packages(path: Sequence[str] | None = None, *, root: str = "c2t") -> Installed:
    """Look at what is installed.

    Args:
        path: Folders of packages; None: those that are imported from.
        root: The package to begin with.
    """
    every: dict[str, Distribution] = {}
    for found in distributions() if path is None else distributions(path=list(path)):
        name = found.metadata["Name"]
        if name:  # a folder that an uninstall left has no metadata
            every.setdefault(normal_name(name), found)
    running: dict[str, set[str]] = {}
    missing: list[str] = []
    waiting = [(normal_name(root), frozenset(RUN_EXTRAS), "this report")]
    while waiting:
        name, extras, needed_by = waiting.pop()
        if name not in every:
            missing.append(f"{name}, which {needed_by} needs, is not installed")
            continue
        new = extras - running[name] if name in running else extras | {""}
        running.setdefault(name, set()).update(new)
        waiting += [
            one
            for text in every[name].requires or ()
            if (one := _wanted(text, new, name, every)) is not None
        ]
    return Installed(every=every, running=tuple(sorted(running)), missing=tuple(sorted(missing)))


def normal_name(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _wanted(
    text: str, extras: frozenset[str] | set[str], by: str, every: dict[str, Distribution]
) -> tuple[str, frozenset[str], str] | None:
    """Package, extras and who needs it, if a requirement applies here."""
    match = _REQUIREMENT.match(text)
    if match is None:
        return None
    name, condition = normal_name(match[1]), match[3] or ""
    its_extras = frozenset(e.strip() for e in (match[2] or "").split(",") if e.strip())
    of = set(_EXTRA.findall(condition))
    if not (of & extras if of else "" in extras):
        return None
    # Of c2t's extras any may be absent; a condition may speak of another system or Python.
    may_lack = bool(condition.strip())
    return None if may_lack and name not in every else (name, its_extras, by)
