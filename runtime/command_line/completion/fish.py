"""Completion for fish: a line for each command and option."""

from __future__ import annotations

from collections.abc import Iterator

from c2t.runtime.command_line.command_tree import Command, Option, Takes

# True where the words before the cursor that are no options begin with the arguments; for commands
# that have others below them, only until one of these is there.
_CONDITION = """\
function __c2t_in
    set -l found (string match -v -- '-*' (commandline -opc)[2..])
    set -l most (count $argv)
    test "$found[1..$most]" = "$argv"
end
function __c2t_at
    set -l found (string match -v -- '-*' (commandline -opc)[2..])
    test "$found" = "$argv"
end
complete -c c2t -f"""


def fish_script(tree: Command, head: str) -> str:
    """The script.

    Args:
        tree: The whole command line.
        head: A line of comment.
    """
    lines = [line for command in tree.walk() for line in _lines(command)]
    return "\n".join([f"# {head}", _CONDITION, *lines]) + "\n"


def _lines(command: Command) -> Iterator[str]:
    words = " ".join(command.words[1:])
    condition = f"__c2t_at {words}".strip() if command.commands else f"__c2t_in {words}"
    start = f"complete -c c2t -n '{condition}'"
    for below in command.commands:
        yield f"{start} -a {below.name} -d {_quoted(below.paragraphs[0])}"
    if command.arguments:
        yield f"{start} -F"
    for option in command.options:
        yield f"{start} {_option(option)} -d {_quoted(option.help)}"
        for name in option.off:
            yield f"{start} -l {name.removeprefix('--')}"


def _option(option: Option) -> str:
    names = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    ]
    value = {
        Takes.nothing: [],
        Takes.file: ["-r", "-F"],
        Takes.folder: ["-x", "-a", "'(__fish_complete_directories)'"],
        Takes.choice: ["-x", "-a", _quoted(" ".join(option.choices))],
        Takes.text: ["-x"],
    }[option.takes]
    return " ".join([*names, *value])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
