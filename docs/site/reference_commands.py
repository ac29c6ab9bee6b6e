"""The pages about commands: from the data that manual pages and completion are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator

from c2t.cli import app
from c2t.runtime.command_line.command_tree import Argument, Command, Option, command_tree

_INTRODUCTION = """\
# Commands

What `c2t --help` and `c2t COMMAND --help` say.
"""
_END = """
`c2t --install-completion` completes all of it in bash, zsh and fish. Any command takes `--debug`,
which shows the traceback of an error.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 129 and 143 ended by a signal, 141
output closed.

```{toctree}
:hidden:
:glob:

*
```
"""


def commands() -> list[Command]:
    """All commands that do something themselves, in the order of the help."""
    return [command for command in command_tree(app).walk() if not command.commands]


def command_pages() -> dict[str, str]:
    """A page for each command, and one that lists them; by name."""
    pages, lines = {}, [_INTRODUCTION]
    for command in commands():
        name, words = "-".join(command.words[1:]), " ".join(command.words)
        lines.append(f"- [`{words}`]({name}.md): {_plain(command.paragraphs[0])}")
        pages[f"reference/commands/{name}.md"] = _page(command)
    pages["reference/commands/index.md"] = "\n".join([*lines, _END])
    return pages


def _page(command: Command) -> str:
    words = " ".join(command.words)
    called = " ".join([words, "[OPTIONS]", *(argument.metavar for argument in command.arguments)])
    parts = [f"# {words}", *map(_plain, command.paragraphs), f"```text\n{called}\n```"]
    if command.arguments:
        parts.append("## Arguments\n\n" + "\n".join(map(_argument, command.arguments)))
    for heading, options in command.groups.items():
        parts.append(f"## {heading}\n\n" + "\n".join(map(_option, options)))
    return "\n\n".join(parts) + "\n"


def _argument(argument: Argument) -> str:
    words = [] if argument.required else ["may be left out"]
    return _entry(argument.metavar, argument.help, words)


def _option(option: Option) -> str:
    names = ", ".join((*option.names, *option.off))
    return _entry(f"{names} {option.metavar}".strip(), option.help, list(_facts(option)))


def _facts(option: Option) -> Iterator[str]:
    if option.required:
        yield "required"
    if option.repeated:
        yield "may be repeated"
    if option.default:
        yield f"default: `{option.default}`"
    if option.envvar:
        yield f"or the variable `{option.envvar}`"


def _entry(name: str, said: str, facts: list[str]) -> str:
    behind = f" ({'; '.join(facts)})" if facts else ""
    return f"`{name}`\n: {_plain(' '.join(said.split()))}{behind}\n"


def _plain(text: str) -> str:
    """Text of a terminal as Markdown: nothing in it is markup but code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece if n % 2 else re.sub(r"([*_<>\[\]\\#|])", r"\\\1", piece)
        for n, piece in enumerate(pieces)
    )
