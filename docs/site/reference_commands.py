"""The pages about commands: made from the command line itself, so that no option is missing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from c2t.cli import app

OPTIONS = "Options"


def command_pages() -> dict[str, str]:
    """A page for each command, and one that lists them; by name."""
    group = typer.main.get_command(app)
    context = group.make_context("c2t", [], resilient_parsing=True)
    pages = {}
    lines = ["# Commands", "", "What `c2t --help` and `c2t COMMAND --help` say.", ""]
    for words, command, within in _commands(group, context, ("c2t",)):
        name = "-".join(words[1:])
        lines.append(f"- [`{' '.join(words)}`]({name}.md): {_first_line(command)}")
        pages[f"reference/commands/{name}.md"] = _page(words, command, within)
    lines += [
        "",
        "All take `--debug`, which shows the traceback of an error. Exit codes: 0 done, 1",
    ]
    lines += ["failed, 2 wrong usage, 130 interrupted, 129 and 143 ended by a signal, 141 output"]
    lines += ["closed.", "", "```{toctree}", ":hidden:", ":glob:", "", "*", "```", ""]
    pages["reference/commands/index.md"] = "\n".join(lines)
    return pages


def _commands(
    group: Any, context: Any, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        within = command.make_context(
            " ".join((*words, name)), [], parent=None, resilient_parsing=True
        )
        if hasattr(command, "list_commands"):
            yield from _commands(command, within, (*words, name))
        else:
            yield (*words, name), command, within


def _first_line(command: Any) -> str:
    return " ".join(_help(command).split("\n\n")[0].split())


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\b", "")


def _page(words: tuple[str, ...], command: Any, context: Any) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"# {' '.join(words)}", _plain(_help(command))]
    parts.append(f"```text\n{' '.join(words)} {usage}\n```")
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = None if getattr(parameter, "hidden", False) else parameter.get_help_record(context)
        if record is None:
            continue
        is_argument = parameter.param_type_name == "argument"
        panel = getattr(parameter, "rich_help_panel", None)
        panel = panel or ("Arguments" if is_argument else OPTIONS)
        name, said = record
        about = " ".join(said.replace("\b", " ").split()) or "…"
        panels.setdefault(panel, []).append(f"`{name.strip()}`\n: {_plain(about)}\n")
    for panel, entries in panels.items():
        parts.append(f"## {panel}\n\n" + "\n".join(entries))
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Text of a terminal as Markdown: nothing in it is markup but code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece if n % 2 else re.sub(r"([*_<>\[\]\\#|])", r"\\\1", piece)
        for n, piece in enumerate(pieces)
    )
