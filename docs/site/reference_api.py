"""The pages about Python: every public name of `c2t`, `c2t.tl` and `c2t.pl`, by autodoc."""

from __future__ import annotations

import inspect
from types import ModuleType

import c2t

MODULES: dict[str, ModuleType] = {"c2t": c2t, "c2t.tl": c2t.tl, "c2t.pl": c2t.pl}
TITLES = {
    "c2t": "Open a bundle, and describe cells with it.",
    "c2t.tl": "Tools that fill an AnnData object.",
    "c2t.pl": "Plots of described cells. Each returns its axes.",
}


def public_names(module: ModuleType) -> list[str]:
    """The public names of a module that are no modules and no constants."""
    names = [name for name in module.__all__ if not name.startswith("_")]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def api_pages() -> dict[str, str]:
    """A page for each public module, by name."""
    pages = {}
    for name, module in MODULES.items():
        parts = [f"# {name}\n\n{TITLES[name]}\n"]
        for public in public_names(module):
            what = getattr(module, public)
            kind = "function" if inspect.isroutine(what) else "class"
            if isinstance(what, type) and issubclass(what, Exception):
                kind = "exception"
            lines = [f".. auto{kind}:: {name}.{public}"]
            if kind != "function":
                lines.append("   :members:")
            parts.append(f"## {public}\n\n```{{eval-rst}}\n" + "\n".join(lines) + "\n```\n")
        pages[f"reference/python/{name.replace('.', '-')}.md"] = "\n".join(parts)
    return pages
