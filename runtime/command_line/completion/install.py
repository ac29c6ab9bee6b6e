"""Where the completion of a shell lies, and its writing.

One decision: one file of our own is written, as a whole, where the shell looks for it; nobody's
`.bashrc` is edited. What is left to do is said.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

import c2t
from c2t.runtime.command_line.command_tree import Command, command_tree
from c2t.runtime.command_line.completion.bash import bash_script
from c2t.runtime.command_line.completion.fish import fish_script
from c2t.runtime.command_line.completion.zsh import zsh_script
from c2t.runtime.command_line.options import Shell
from c2t.runtime.system.errors import C2TError, OutputError
from c2t.runtime.system.files import write_text

_WRITTEN_BY = "written by `c2t --install-completion`"
_HINT = "name it with --shell: bash, zsh or fish"


_SCRIPTS: dict[Shell, Callable[[Command, str], str]] = {
    Shell.bash: bash_script,
    Shell.zsh: zsh_script,
    Shell.fish: fish_script,
}


def completion_script(app: typer.Typer, shell: Shell) -> str:
    """The script that makes a shell complete c2t's commands, options, choices and file names."""
    head = f"c2t {c2t.__version__}: {_WRITTEN_BY}; run that again after an update of c2t."
    return _SCRIPTS[shell](command_tree(app), head)


def install_completion(app: typer.Typer, shell: Shell, environment: Mapping[str, str]) -> str:
    """Write the script to the user's own folder of completions.

    Args:
        app: The command line.
        shell: The shell.
        environment: The variables that say where that folder is.

    Returns:
        What was written, and what is left to do.

    Raises:
        OutputError: It cannot be written, or somebody else's file is there.
    """
    path = completion_file(shell, environment)
    if path.is_file() and _WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
        problem = f"{path} is there, and c2t did not write it"
        raise OutputError(problem, hint="move it away, and run this again")
    script = completion_script(app, shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, script, force=True)
    return f"wrote {path}\n{_what_is_left(shell, path)}"


def completion_file(shell: Shell, environment: Mapping[str, str]) -> Path:
    """Where a shell looks for the completions of one user; zsh must be told.

    Raises:
        C2TError: The user has no home.
    """
    home = environment.get("HOME")
    if not home:
        problem = "HOME is not set: there is no folder for the completions of a user"
        raise C2TError(problem, hint="print the script instead: --show-completion")
    data = Path(environment.get("XDG_DATA_HOME") or Path(home) / ".local/share")
    settings = Path(environment.get("XDG_CONFIG_HOME") or Path(home) / ".config")
    return {
        Shell.bash: data / "bash-completion/completions/c2t",
        Shell.zsh: data / "zsh/site-functions/_c2t",
        Shell.fish: settings / "fish/completions/c2t.fish",
    }[shell]


def _what_is_left(shell: Shell, path: Path) -> str:
    if shell is Shell.fish:
        return "the next fish completes c2t"
    if shell is Shell.bash:
        line = f"source {shlex.quote(str(path))}"
        return (
            "the next bash completes c2t, if bash-completion is installed; else add to ~/.bashrc: "
            f"{line}"
        )
    line = f"fpath=({shlex.quote(str(path.parent))} $fpath)"
    return f"add to ~/.zshrc, before compinit: {line}"


def this_shell(environment: Mapping[str, str]) -> Shell:
    """The shell that started this process, else the user's own.

    Raises:
        C2TError: It is none that is known.
    """
    names = [_parent_name(), Path(environment.get("SHELL", "")).name]
    for name in names:
        if name in Shell.__members__:
            return Shell(name)
    problem = f"this shell is not known: SHELL is {environment.get('SHELL', 'not set')!r}"
    raise C2TError(problem, hint=_HINT)


def _parent_name() -> str:
    """The name of the process that started this one; "" where the system does not say."""
    try:
        return Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
