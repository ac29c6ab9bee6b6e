"""The nf-core module: its command is c2t's, and runs without Nextflow."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from packaged import BUNDLE, CELLS, MODULE, bash, check_command

import c2t


def nextflow_script(section: str, **values: str) -> str:
    """The command of the module's script, with Groovy's values put in."""
    body = (MODULE / "main.nf").read_text(encoding="utf-8").partition(f"    {section}:\n")[2]
    text = body.split('"""')[1]
    text = re.sub(r"\$\{([a-z.]+)\}", lambda name: values[name[1]], text).replace("\\$", "$")
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


@pytest.mark.parametrize("section", ["script", "stub"])
def test_the_modules_command_runs(tmp_path: Path, section: str) -> None:
    config = (MODULE / "tests/nextflow.config").read_text(encoding="utf-8")
    args = re.findall(r"ext.args = '(.*)'", config)[0]
    command = nextflow_script(
        section,
        **{"bundle": str(BUNDLE), "cells": str(CELLS), "prefix": "test", "format": "jsonl"},
        **{"task.cpus": "1", "task.process": "C2T_DESCRIBE", "args": args},
    )
    for line in command.splitlines():
        if line.startswith("c2t "):
            check_command(shlex.split(line)[1:])
    bash(command, tmp_path)
    assert (tmp_path / "versions.yml").read_text("utf-8") == (
        f'"C2T_DESCRIBE":\n    c2t: {c2t.__version__}\n'
    )
    lines = (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == (3 if section == "script" else 0)


def test_the_modules_test_data_is_there() -> None:
    test = (MODULE / "tests/main.nf.test").read_text(encoding="utf-8")
    places = set(re.findall(r'file\("\$\{moduleDir\}/(.*?)"', test))
    assert {(MODULE / place).resolve() for place in places} == {CELLS, BUNDLE}
