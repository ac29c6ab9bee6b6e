"""The commands as data say what the parser takes, and long helps are grouped by purpose."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main
from cli_process import Command as CallC2T

from c2t.cli import app
from c2t.runtime.command_line.command_tree import Command, Takes, command_tree
from c2t.runtime.command_line.grouped_help import GROUPS, MOST_TOGETHER, OTHER, group_of

TREE = command_tree(app)
LONG = [c for c in TREE.walk() if len(c.options) - 1 > MOST_TOGETHER]


def parsers() -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}

    def add(words: tuple[str, ...], parser: Any) -> None:
        found[words] = parser
        for name, below in getattr(parser, "commands", {}).items():
            add((*words, name), below)

    add(("c2t",), typer.main.get_command(app))
    return found


@pytest.mark.parametrize("command", [*TREE.walk()], ids=lambda command: " ".join(command.words))
def test_they_are_the_parsers(command: Command) -> None:
    parser = parsers()[command.words]
    options = [p for p in parser.params if p.param_type_name == "option"]
    arguments = [p for p in parser.params if p.param_type_name == "argument"]
    assert {(frozenset(o.names), o.off) for o in command.options} == {
        *((frozenset(p.opts), tuple(p.secondary_opts)) for p in options),
        (frozenset({"--help"}), ()),
    }
    by_name = {o.names[0]: o for o in command.options}
    for parameter in options:
        option = by_name[next(name for name in parameter.opts if name.startswith("--"))]
        assert (option.takes is Takes.nothing) == parameter.is_flag
        assert option.required == parameter.required
        assert option.repeated == parameter.multiple
        assert option.help == (parameter.help or "").strip()
    assert [(a.metavar, a.required) for a in command.arguments] == [
        (p.metavar or str(p.name).upper(), p.required) for p in arguments
    ]
    assert [below.name for below in command.commands] == [*getattr(parser, "commands", {})]
    assert command.text


def test_every_command_is_there() -> None:
    assert {command.words for command in TREE.walk()} == set(parsers())
    assert len(LONG) >= 9


def test_options_of_long_helps_have_a_heading() -> None:
    missing = {
        f"{command.name} {option.names[0]}"
        for command in LONG
        for option in command.options
        if group_of(option.names[0]) == OTHER and option.names[0] != "--help"
    }
    assert not missing, "name them in runtime/command_line/grouped_help.py"
    named = [word for words in GROUPS.values() for word in words.split()]
    assert len(named) == len(set(named))
    taken = {option.names[0][2:] for command in LONG for option in command.options}
    assert set(named) <= taken, "options that no long help has"


def test_help_shows_the_groups(call_c2t: CallC2T) -> None:
    for command in LONG:
        shown = call_c2t(*command.words[1:], "--help").stdout.splitlines()
        heads = [line[:-1] for line in shown if line.endswith(":") and not line.startswith(" ")]
        groups = [*command.groups]
        assert heads == ["Arguments"] * bool(command.arguments) + groups
        assert groups[-1] == OTHER
        place = [shown.index(f"{heading}:") for heading in groups] + [len(shown)]
        for heading, start, end in zip(groups, place, place[1:], strict=False):
            text = " ".join(" ".join(shown[start:end]).split())
            for option in command.groups[heading]:
                assert option.names[0] in text


def test_short_helps_are_one_list(call_c2t: CallC2T) -> None:
    shown = call_c2t("info", "--help").stdout
    assert "\nOptions:\n" in shown
    assert "\nOther:\n" not in shown
