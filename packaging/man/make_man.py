"""Write the manual pages of c2t from its commands: python packaging/man/make_man.py [FOLDER].

The pages lie in `packaging/man/man1`, are committed, and go into wheels (`share/man`): building a
wheel imports nothing of c2t. A test compares them with what this would write.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from c2t.cli import app
from c2t.runtime.command_line.command_tree import Argument, Command, Option, command_tree

WIDTH = 79
FOLDER = Path(__file__).resolve().parent / "man1"
EXIT_CODES = (
    ("0", "Done."),
    ("1", "Failed; the error and a hint are on standard error."),
    ("2", "Wrong usage."),
    ("130", "Interrupted; the same command goes on where it stopped, if it can."),
)


def pages() -> dict[str, str]:
    """Every page by its file's name: one for c2t, one for each of its commands."""
    tree = command_tree(app)
    found = {"c2t.1": page(tree, [f"c2t-{below.name}" for below in tree.commands])}
    for command in tree.commands:
        found[f"c2t-{command.name}.1"] = page(command, ["c2t"])
    return found


def page(command: Command, others: list[str]) -> str:
    """One manual page, in the man(7) macros.

    Args:
        command: The command; those below it are in its page, unless it is c2t itself.
        others: Pages to see also.
    """
    name = "-".join(command.words)
    summary = command.paragraphs[0].rstrip(".")
    lines = [
        f'.TH "{plain(name.upper())}" 1 "" "c2t" "c2t"',
        ".SH NAME",
        f"{plain(name)} \\- {plain(summary[:1].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        *synopsis(command),
        ".SH DESCRIPTION",
        *paragraphs(command.paragraphs),
    ]
    if len(command.words) == 1:
        lines.append(".SH COMMANDS")
        for below in command.commands:
            lines += [".TP", bold(below.name), *filled(below.paragraphs[0])]
    lines += parameters(command)
    if len(command.words) > 1:
        for below in command.commands:
            lines += [f".SH {plain(' '.join(below.words)).upper()}", *synopsis(below)]
            lines += [".PP", *paragraphs(below.paragraphs), *parameters(below, heading=".SS")]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        lines += [".TP", bold(code), *filled(meaning)]
    seen = [f".BR {plain(other)} (1)" for other in others]
    lines += [".SH SEE ALSO", *(f"{line}," for line in seen[:-1]), seen[-1]]
    return "\n".join(lines) + "\n"


def synopsis(command: Command) -> Iterator[str]:
    """How it is called."""
    yield bold(" ".join(command.words))
    yield "[\\fIOPTIONS\\fR]"
    if command.commands:
        yield "\\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"
    for argument in command.arguments:
        name = f"\\fI{plain(argument.metavar)}\\fR"
        yield name if argument.required else f"[{name}]"


def paragraphs(texts: tuple[str, ...]) -> Iterator[str]:
    """Paragraphs of text."""
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield from filled(text)


def parameters(command: Command, *, heading: str = ".SH") -> Iterator[str]:
    """Arguments and options; a long list has the headings of `--help`."""
    if command.arguments:
        yield f"{heading} ARGUMENTS"
    for argument in command.arguments:
        yield from entry(argument)
    yield f"{heading} OPTIONS"
    groups = command.groups
    for name, options in groups.items():
        if len(groups) > 1:
            yield f".SS {plain(name)}"
        for option in options:
            yield from entry(option)


def entry(what: Argument | Option) -> Iterator[str]:
    """The line of an argument or an option, and what it does."""
    yield ".TP"
    if isinstance(what, Argument):
        yield f"\\fI{plain(what.metavar)}\\fR"
        yield from filled(what.help)
        return
    value = f" \\fI{plain(what.metavar)}\\fR" if what.metavar else ""
    yield ", ".join(f"\\fB{plain(name)}\\fR{value}" for name in (*what.names, *what.off))
    notes = [
        "It can be given several times." if what.repeated else "",
        "Required." if what.required else "",
        f"Default: {what.default}." if what.default else "",
        f"Environment variable: {what.envvar}." if what.envvar else "",
    ]
    yield from filled(" ".join([what.help, *notes]))


def bold(text: str) -> str:
    """Text in bold."""
    return f"\\fB{plain(text)}\\fR"


def filled(text: str) -> Iterator[str]:
    """Text in short lines, none of which is taken for a macro."""
    words = " ".join(plain(word) for word in text.split())
    for line in textwrap.wrap(words, WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"\\&{line}" if line.startswith(".") else line


def plain(text: str) -> str:
    """Text whose characters mean nothing to roff."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")


def main() -> None:
    """Write the pages; remove those of commands that are gone."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.1"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
