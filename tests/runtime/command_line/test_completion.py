"""Completion by real shells: commands, options, choices, file names; and where the script goes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cli_process import run_c2t
from typed_words import typed_words

from c2t.cli import app
from c2t.runtime.command_line.completion.install import (
    completion_file,
    completion_script,
    install_completion,
    this_shell,
)
from c2t.runtime.command_line.options import Shell
from c2t.runtime.system.errors import C2TError, OutputError

BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
# What is typed, and the words that c2t then gets.
TYPED = {
    "c2t desc\t": ["describe"],
    "c2t audit ch\t": ["audit", "check"],
    "c2t audit check --audit-h\t": ["audit", "check", "--audit-head"],
    "c2t describe --no-dr\t": ["describe", "--no-drafts"],
    "c2t describe --counts-are norm\t": ["describe", "--counts-are", "normalized"],
    "c2t calibrate --estimator=perc\t": ["calibrate", "--estimator=percentile"],
    "c2t --shell fi\t": ["--shell", "fish"],
    # Paths: a folder for a bundle (the file of that name is passed over), a file for cells.
    "c2t info tin\t": ["info", "tiny bundle/"],
    "c2t info --json tin\t": ["info", "--json", "tiny bundle/"],
    "c2t describe x cel\t": ["describe", "x", "cells.h5ad"],
    "c2t describe --limit 3 x cel\t": ["describe", "--limit", "3", "x", "cells.h5ad"],
    "c2t describe x -o cel\t": ["describe", "x", "-o", "cells.h5ad"],
    # Nothing to complete: what takes a number takes no file.
    "c2t describe --limit cel\t": ["describe", "--limit", "cel"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "tiny bundle").mkdir(parents=True)
    (folder / "tiny_file").touch()
    (folder / "cells.h5ad").touch()
    return folder


@pytest.fixture
def script(tmp_path: Path) -> dict[str, Path]:
    found = {shell.value: tmp_path / shell.value for shell in Shell}
    for shell in Shell:
        found[shell].write_text(completion_script(app, shell), encoding="utf-8")
    return found


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("line", TYPED)
def test_shells_complete(shell: str, line: str, folder: Path, script: dict[str, Path]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = typed_words(shell, script[shell], line, folder)
    # zsh takes the slash behind a folder away again.
    assert words == [word.rstrip("/") if shell == "zsh" else word for word in TYPED[line]]


def test_fish_completes(folder: Path, script: dict[str, Path]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")

    def offered(line: str) -> set[str]:
        command = f"source {script['fish']}; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", command],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return {line.partition("\t")[0] for line in done.stdout.splitlines()}

    assert offered("c2t desc") == {"describe"}
    assert {"describe", "audit", "doctor"} <= offered("c2t ")
    assert "cells.h5ad" not in offered("c2t ")
    assert offered("c2t audit ") == {"check", "show"}
    assert offered("c2t audit check --audit-h") == {"--audit-head"}
    assert offered("c2t describe --no-dr") == {"--no-drafts"}
    assert offered("c2t describe --counts-are norm") == {"normalized"}
    assert offered("c2t verify --report tin") == {"tiny bundle/"}
    assert offered("c2t describe x cel") == {"cells.h5ad"}
    assert offered("c2t describe x -o cel") == {"cells.h5ad"}
    assert offered("c2t describe --limit cel") == set()


@pytest.mark.parametrize("shell", Shell)
def test_every_command_and_option_is_in_the_script(shell: Shell) -> None:
    import typer.main

    script = completion_script(app, shell)
    words = set(script.replace("'", " ").replace("=", " ").replace("[", " ").split())
    words |= {word.rpartition(")")[2] for word in words}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert name in script
        for option in command.params:
            for said in (*option.opts, *option.secondary_opts):
                if said.startswith("--"):
                    assert said in script if shell is not Shell.fish else f"-l {said[2:]}" in script


def test_installed_where_shells_look(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    for shell in Shell:
        done = run_c2t("--install-completion", "--shell", shell.value, env=environment)
        assert done.returncode == 0
        path = completion_file(shell, environment)
        assert done.stderr.startswith(f"wrote {path}\n")
        assert path.read_text(encoding="utf-8") == completion_script(app, shell)
        assert [*path.parent.iterdir()] == [path]
        assert run_c2t("--show-completion", "--shell", shell).stdout == path.read_text("utf-8")


@pytest.mark.skipif(
    shutil.which("bash") is None or not BASH_COMPLETION.is_file(),
    reason="bash-completion is not installed",
)
def test_bash_completion_finds_it(tmp_path: Path, folder: Path) -> None:
    environment = {"HOME": str(folder.parent)}
    install_completion(app, Shell.bash, environment)
    words = typed_words("bash", BASH_COMPLETION, "c2t desc\t", folder)
    assert words == ["describe"]


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    path = completion_file(Shell.bash, environment)
    path.parent.mkdir(parents=True)
    path.write_text("# mine")
    with pytest.raises(OutputError, match="c2t did not write it"):
        install_completion(app, Shell.bash, environment)
    assert path.read_text() == "# mine"


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file")
    done = run_c2t("--install-completion", "--shell", "bash", env={"HOME": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == [".local"]


def test_the_shell_is_found_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "c2t.runtime.command_line.completion.install._parent_name"
    monkeypatch.setattr(module, lambda: "zsh")
    assert this_shell({"SHELL": "/bin/bash"}) is Shell.zsh
    monkeypatch.setattr(module, lambda: "make")
    assert this_shell({"SHELL": "/usr/bin/fish"}) is Shell.fish
    with pytest.raises(C2TError, match="this shell is not known: SHELL is '/bin/tcsh'"):
        this_shell({"SHELL": "/bin/tcsh"})
    with pytest.raises(C2TError, match="HOME is not set"):
        completion_file(Shell.bash, {})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shell", "bash"],
        ["--install-completion", "--show-completion"],
        ["--install-completion", "doctor"],
        ["--shell", "zsh", "doctor"],
    ],
)
def test_options_that_do_not_go_together(arguments: list[str]) -> None:
    done = run_c2t(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --shell goes with one of")
    assert run_c2t("--").returncode == 2
