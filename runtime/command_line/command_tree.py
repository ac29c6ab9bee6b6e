"""The commands as data: what the manual pages and the completions of shells are written from.

One decision: it is read from the annotations of the functions that the parser is made from. They
are the public side of typer; what typer makes of them changes from version to version.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import typer

from c2t.runtime.command_line.grouped_help import grouped

FOLDER_NAMES = ("BUNDLE", "DIR")  # metavars of what is always a folder
HELP = "Show this message and exit."


class Takes(enum.Enum):
    """What an option or argument takes, as far as a shell can complete it."""

    nothing = enum.auto()  # a flag
    file = enum.auto()  # or a folder
    folder = enum.auto()
    choice = enum.auto()
    text = enum.auto()  # anything, numbers too


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a command.

    Attributes:
        names: "--output", "-o"; long names first.
        off: The names that switch a flag off, such as "--no-drafts".
        takes: What follows it.
        choices: All values, where there is a choice.
        metavar: What the help calls its value; "" for flags.
        help: One or a few sentences.
        default: In words; "" where there is none, or `help` says it.
        envvar: The environment variable that it is taken from otherwise; "" for none.
        repeated: It may be given several times.
        required: The command fails without it.
    """

    names: tuple[str, ...]
    off: tuple[str, ...] = ()
    takes: Takes
    choices: tuple[str, ...] = ()
    metavar: str = ""
    help: str
    default: str = ""
    envvar: str = ""
    repeated: bool = False
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A word that stands at its place. Attributes as those of `Option`."""

    metavar: str
    takes: Takes
    help: str
    required: bool
    repeated: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, or a group of commands.

    Attributes:
        words: How it is called: ("c2t", "audit", "check").
        text: Its help, in paragraphs; the first is a summary.
        arguments: In their order.
        options: In the order of the help, `--help` last.
        commands: Of a group, in the order of the help.
    """

    words: tuple[str, ...]
    text: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    commands: tuple[Command, ...] = ()

    @property
    def name(self) -> str:
        """The last word."""
        return self.words[-1]

    @property
    def groups(self) -> dict[str, list[Option]]:
        """The options by heading, as the help has them."""
        return grouped([*self.options], [option.names[0] for option in self.options])

    @cached_property
    def paragraphs(self) -> tuple[str, ...]:
        """Of the text, each as one line."""
        return tuple(" ".join(part.split()) for part in self.text.split("\n\n"))

    def walk(self) -> Iterator[Command]:
        """This command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def command_tree(app: typer.Typer, name: str = "c2t") -> Command:
    """All commands of an application.

    Args:
        app: With commands by `add_command`, and groups.
        name: How the program is called.
    """
    return _group(app, (name,), "")


def _group(app: typer.Typer, words: tuple[str, ...], help_text: str) -> Command:
    callback = app.registered_callback
    options = () if callback is None else _parameters(callback.callback)[1]
    commands = [
        _command(info.callback, (*words, str(info.name))) for info in app.registered_commands
    ]
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            commands.append(_group(inner, (*words, str(group.name)), str(inner.info.help)))
    return Command(
        words=words,
        text=help_text or str(app.info.help),
        options=(*options, _help_option()),
        commands=tuple(commands),
    )


def _command(function: Callable[..., Any] | None, words: tuple[str, ...]) -> Command:
    arguments, options = _parameters(function)
    return Command(
        words=words,
        text=inspect.getdoc(function) or "",
        arguments=arguments,
        options=(*options, _help_option()),
    )


def _help_option() -> Option:
    return Option(names=("--help",), takes=Takes.nothing, help=HELP)


def _parameters(
    function: Callable[..., Any] | None,
) -> tuple[tuple[Argument, ...], tuple[Option, ...]]:
    if function is None:
        return (), ()
    function = inspect.unwrap(function)
    arguments, options = [], []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.annotation is typer.Context:
            continue
        kind, info = typing.get_args(parameter.annotation)[:2]
        kind, repeated = _plain_type(kind)
        if isinstance(info, typer.models.ArgumentInfo):
            required = parameter.default is parameter.empty
            arguments.append(_argument(name, kind, info, repeated=repeated, required=required))
        elif not info.hidden:
            option = _option(name, kind, info, parameter.default)
            options.append(replace(option, repeated=repeated))
    return tuple(arguments), tuple(options)


def _argument(name: str, kind: type, info: Any, *, repeated: bool, required: bool) -> Argument:
    metavar = info.metavar or name.upper()
    return Argument(
        metavar=metavar,
        takes=_takes(kind, info),
        help=info.help or "",
        required=required,
        repeated=repeated,
    )


def _option(name: str, kind: type, info: Any, default: Any) -> Option:
    takes = _takes(kind, info)
    word = name.replace("_", "-")
    # In an annotation typer takes the first name for the default, which the parameter has.
    first = (info.default,) if isinstance(info.default, str) else ()
    given = (*first, *(info.param_decls or ()))
    off: tuple[str, ...] = ()
    if not given:
        given = (f"--{word}",)
        off = (f"--no-{word}",) if takes is Takes.nothing else ()
    choices = tuple(str(member.value) for member in kind) if issubclass(kind, enum.Enum) else ()
    return Option(
        names=tuple(sorted(given, key=lambda option: not option.startswith("--"))),
        off=off,
        takes=takes,
        choices=choices,
        metavar=info.metavar or _metavar(kind, takes, choices),
        help=info.help or "",
        default=_default(default),
        envvar=info.envvar or "",
        required=default is inspect.Parameter.empty,
    )


def _plain_type(kind: Any) -> tuple[type, bool]:
    """The type of one value, without "or None"; and whether there may be several."""
    if isinstance(kind, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is list:
        return typing.get_args(kind)[0], True
    return kind, False


def _takes(kind: type, info: Any) -> Takes:
    if kind is bool:
        return Takes.nothing
    if issubclass(kind, Path):
        folder = info.metavar in FOLDER_NAMES or not info.file_okay
        return Takes.folder if folder else Takes.file
    if issubclass(kind, enum.Enum):
        return Takes.choice
    # What may be a list or a file of one, such as --cells.
    return (
        Takes.file
        if re.search(r"\bor a file\b|\bFILE\b", f"{info.help} {info.metavar}")
        else Takes.text
    )


def _metavar(kind: type, takes: Takes, choices: tuple[str, ...]) -> str:
    if takes is Takes.choice:
        return "|".join(choices)
    names = {int: "NUMBER", float: "NUMBER", str: "TEXT"}
    return {Takes.nothing: "", Takes.file: "PATH", Takes.folder: "DIR"}.get(
        takes, names.get(kind, "TEXT")
    )


def _default(value: Any) -> str:
    """A default in words; flags that are off, and nothing, are no news."""
    if value is inspect.Parameter.empty or value is None or value is False or value == "":
        return ""
    if value is True:
        return "on"
    return str(value.value if isinstance(value, enum.Enum) else value)
