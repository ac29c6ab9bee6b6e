"""Completion for zsh: its own `_arguments`, with the help of every option."""

from __future__ import annotations

from c2t.runtime.command_line.command_tree import Argument, Command, Option, Takes

_ACTIONS = {Takes.file: "_files", Takes.folder: "_files -/", Takes.text: " "}
# Works both as a file of `$fpath` and sourced.
_END = """
if [ "$funcstack[1]" = "_c2t" ]; then
    _c2t "$@"
else
    compdef _c2t c2t
fi
"""


def zsh_script(tree: Command, head: str) -> str:
    """The script.

    Args:
        tree: The whole command line.
        head: A line of comment.
    """
    functions = [_function(command) for command in reversed([*tree.walk()])]
    return "\n".join(["#compdef c2t", f"# {head}", *functions]) + _END


def _name(command: Command) -> str:
    return "_" + "_".join(command.words)


def _function(command: Command) -> str:
    specifications = [_option(option) for option in command.options]
    if not command.commands:
        places = [_argument(place, argument) for place, argument in enumerate(command.arguments, 1)]
        lines = " \\\n        ".join(["_arguments -s -S", *specifications, *places])
        return f"{_name(command)}() {{\n    {lines}\n}}"
    specifications += ["'1: :->command'", "'*:: :->rest'"]
    lines = " \\\n        ".join(["_arguments -C -S", *specifications])
    listed = " \\\n            ".join(
        _quoted(f"{_escaped(below.name)}:{below.paragraphs[0]}") for below in command.commands
    )
    cases = "\n".join(f"        {below.name}) {_name(below)} ;;" for below in command.commands)
    return f"""{_name(command)}() {{
    local curcontext=$curcontext state line
    typeset -A opt_args
    {lines}
    case $state in
    command)
        local -a commands=({listed})
        _describe command commands
        ;;
    rest)
        case $words[1] in
{cases}
        esac
        ;;
    esac
}}"""


def _option(option: Option) -> str:
    """One word for each name; names of one option exclude each other, if it is not repeated."""
    names = (*option.names, *option.off)
    value = ""
    if option.takes is not Takes.nothing:
        choices = f"({' '.join(option.choices)})"
        action = choices if option.takes is Takes.choice else _ACTIONS[option.takes]
        value = f":{_escaped(option.metavar)}:{action}"
    before = "*" if option.repeated else f"({' '.join(names)})"
    return " ".join(
        _quoted(
            f"{before}{name}{'=' if value and name.startswith('--') else ''}"
            f"[{_escaped(option.help)}]{value}"
        )
        for name in names
    )


def _argument(place: int, argument: Argument) -> str:
    return _quoted(f"{place}:{_escaped(argument.metavar)}:{_ACTIONS[argument.takes]}")


def _escaped(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
