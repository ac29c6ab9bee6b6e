"""Manual pages: those of today's commands, without anything that a formatter complains about."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from packaged import PACKAGING, load_script

MAKE_MAN = load_script("man/make_man.py")
PAGES = PACKAGING / "man/man1"


def test_pages_are_current() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}
    assert found == MAKE_MAN.pages(), "run `python -P packaging/man/make_man.py`"


def test_every_option_can_be_read_in_the_formatted_page() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    for command in MAKE_MAN.command_tree(MAKE_MAN.app).commands:
        path = PAGES / f"c2t-{command.name}.1"
        done = subprocess.run(
            ["mandoc", "-T", "utf8", "-O", "width=300", path],
            capture_output=True,
            text=True,
            check=True,
        )
        backspaced = done.stdout
        while (place := backspaced.find("\b")) > 0:
            backspaced = backspaced[: place - 1] + backspaced[place + 1 :]
        text = " ".join(backspaced.split())
        for below in command.walk():
            for option in below.options:
                assert f" {option.names[0]}" in text, f"{path.name} lacks {option.names[0]}"
                if not below.commands:
                    assert " ".join(option.help.split()) in text, f"{path.name}: {option.names[0]}"


def test_mandoc_has_nothing_to_say() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *sorted(PAGES.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    # Pages have no date: they change with the commands, not with the calendar.
    said = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert said == []


def test_man_has_nothing_to_say() -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    for path in sorted(PAGES.iterdir()):
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", path],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        )
        assert done.stderr == "", path.name
