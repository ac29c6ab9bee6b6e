"""The page of all messages: every error that the code raises, with its hint.

Sources are parsed, never imported. A value that only a run knows is shown as "…".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from links import ROOT


class Part(NamedTuple):
    """Where messages belong: the words that head them, and the how-to page that says more."""

    title: str
    page: str


# The folders whose errors a user can see.
PARTS = {
    "runtime/cells": Part("Files of cells", "formats"),
    "runtime/bundle": Part("Bundles", "upgrade"),
    "runtime/engines": Part("Engines", "gpu"),
    "runtime/generation": Part("Writing texts", "ask"),
    "runtime/describe": Part("Describing", "problems"),
    "runtime/fields": Part("Fields", "fields"),
    "runtime/labels": Part("Labels", "unsure"),
    "runtime/annotate": Part("Comparing labels", "labels"),
    "runtime/explain": Part("Explaining", "labels"),
    "runtime/groups": Part("Groups", "groups"),
    "runtime/joint": Part("Joint spaces", "search"),
    "runtime/search": Part("Searching", "search"),
    "runtime/output": Part("Results", "formats"),
    "runtime/report": Part("Reports", "python"),
    "runtime/scverse": Part("AnnData objects", "python"),
    "runtime/scale_out": Part("Many workers", "atlas"),
    "runtime/serve": Part("The service", "service"),
    "runtime/trust": Part("Signatures", "trust"),
    "runtime/audit": Part("Audit trails", "trust"),
    "runtime/qualify": Part("Qualification", "trust"),
    "runtime/build": Part("Building for a GPU", "gpu"),
    "runtime/bench": Part("Benchmarks", "gpu"),
    "runtime": Part("All else at run time", "problems"),
    "export": Part("Exporting", "export"),
    "calibration": Part("Calibrating and evaluating", "problems"),
    "kernels": Part("Kernels", "install"),
    "examples/demo": Part("The demonstration", "install"),
    "cli.py": Part("The command line", "problems"),
}
GAP = "…"
_INTRODUCTION = """\
# Messages

An error of c2t has two lines: the problem, and a hint that helps. Here they are as the code has
them; "…" stands for a value of yours, or for words that are put together elsewhere. Search for the
words that you see.
[Problems](../how-to/problems.md) says more about the frequent ones. Where a page helps more than a
line, the hint names it: `c2t help PAGE` shows it, without a network.
"""


@dataclass(frozen=True, order=True)
class Message:
    """An error of the code."""

    problem: str
    hint: str


def message_page() -> dict[str, str]:
    """The page, by its name."""
    lines = [_INTRODUCTION]
    pages = {part.title: part.page for part in PARTS.values()}
    for title, messages in messages_by_part().items():
        lines.append(f"## {title}\n\nSee [{pages[title]}](../how-to/{pages[title]}.md).\n")
        lines += [f"{_plain(m.problem)}\n: hint: {_plain(m.hint)}\n" for m in messages]
    return {"reference/messages.md": "\n".join(lines)}


def messages_by_part() -> dict[str, list[Message]]:
    """All messages, sorted, by the heading of the part that they belong to."""
    found: dict[str, set[Message]] = {part.title: set() for part in PARTS.values()}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        part = next((p for p in PARTS if name == p or name.startswith(f"{p}/")), None)
        if part is not None:
            found[PARTS[part].title] |= set(_messages(path))
    return {title: sorted(said, key=_first_word) for title, said in found.items() if said}


def _first_word(message: Message) -> tuple[str, Message]:
    return re.sub(r"^\W+", "", message.problem).lower(), message


def _messages(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = _assigned(tree.body)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    within: dict[ast.AST, dict[str, list[tuple[int, ast.expr]]]] = {}
    for function in functions:  # an inner one comes after the one around it
        names = _assigned(list(ast.walk(function)))
        for node in ast.walk(function):
            within[node] = names
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _is_error(node.func):
            continue
        names = within.get(node, {})
        scope = _Scope(constants, names, node.lineno)
        if not node.args:
            continue
        hints = [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
        problem = scope.words(node.args[0])
        hint = scope.words(hints[0]) if hints else ""
        if hint and re.search(r"\w{3}", problem):  # without a hint: caught and said otherwise
            yield Message(problem, hint)


def _is_error(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.endswith("Error") and node.id not in _OTHERS


_OTHERS = {"ValueError", "TypeError", "OSError", "KeyError", "RuntimeError", "AttributeError"}


def _assigned(nodes: list[ast.stmt] | list[ast.AST]) -> dict[str, list[tuple[int, ast.expr]]]:
    found: dict[str, list[tuple[int, ast.expr]]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append((node.lineno, node.value))
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, []).append((node.lineno, node.value))
    return found


@dataclass(frozen=True)
class _Scope:
    constants: dict[str, list[tuple[int, ast.expr]]]
    names: dict[str, list[tuple[int, ast.expr]]]
    line: int

    def words(self, node: ast.expr, depth: int = 0) -> str:
        """What an expression says, with gaps for what only a run knows."""
        if depth > 4:
            return GAP
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else GAP
        if isinstance(node, ast.JoinedStr):
            return "".join(
                self.words(v, depth + 1) if isinstance(v, ast.Constant) else self._value(v, depth)
                for v in node.values
            )
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.words(node.left, depth + 1) + self.words(node.right, depth + 1)
        if isinstance(node, ast.IfExp):
            return self.words(node.body, depth + 1)
        if isinstance(node, ast.BoolOp):
            return self.words(node.values[-1], depth + 1)
        if isinstance(node, ast.Name):
            before = [value for line, value in self.names.get(node.id, ()) if line <= self.line]
            if before:
                return self.words(before[-1], depth + 1)
            if node.id in self.constants:
                return self.words(self.constants[node.id][-1][1], depth + 1)
        return GAP

    def _value(self, node: ast.expr, depth: int) -> str:
        """What stands in braces: a constant of the module is known."""
        inner = node.value if isinstance(node, ast.FormattedValue) else node
        if isinstance(inner, ast.Name) and inner.id.isupper():
            return self.words(inner, depth + 1)
        return GAP


def _plain(text: str) -> str:
    """Text of a terminal as Markdown: nothing in it is markup but code."""
    pieces = re.split(r"(`[^`\n]+`)", " ".join(text.split()))
    return "".join(
        piece if n % 2 else re.sub(r"([*_<>\[\]\\#|~{}:`])", r"\\\1", piece)
        for n, piece in enumerate(pieces)
    )
