"""What the code says of each field of a class: in its docstring, or in a comment."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

_ENTRY = re.compile(r"^ {0,4}(\w+): (.*(?:\n(?: {5,}.*)?)*)", re.MULTILINE)


def about(kind: type) -> str:
    """The first lines of a class's docstring, up to its fields."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return " ".join(re.split(r"^(?:Args|Attributes):$", text, flags=re.MULTILINE)[0].split())


def field_notes(kind: type) -> dict[str, str]:
    """By the name of a field: what its docstring says, else the comment behind or above it."""
    notes: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):
            continue
        notes |= _comments(source)
    parts = re.split(
        r"^(?:Args|Attributes):$", inspect.cleandoc(kind.__doc__ or ""), flags=re.MULTILINE
    )
    if len(parts) > 1:
        entries = textwrap.dedent(parts[1])
        notes |= {name: " ".join(said.split()) for name, said in _ENTRY.findall(entries)}
    return notes


def _comments(source: str) -> dict[str, str]:
    tree = ast.parse(source).body[0]
    lines = source.splitlines()
    notes = {}
    for node in getattr(tree, "body", []):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        said = [lines[last].partition("  # ")[2].strip()]
        above = first - 1
        while not said[0] and above >= 0 and lines[above].strip().startswith("#"):
            said.insert(0, lines[above].strip().lstrip("# "))
            above -= 1
        if words := " ".join(word for word in said if word):
            notes[node.target.id] = words
    return notes
