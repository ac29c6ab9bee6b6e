"""The image is made as the page about installing says, of what the package is made of."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaged import BUNDLE, CELLS, ROOT, check_command, page_command, read


def test_the_containers_steps_are_the_pages() -> None:
    docker = re.sub(r"\\\n\s*", "", read("packaging/docker/Dockerfile"))
    runs = re.findall(r"^RUN (.*)$", docker, re.MULTILINE)
    install = page_command("install").replace("pip install -q", "pip install -q --no-cache-dir")
    assert install in runs
    assert [run for run in runs if "pip" in run] == [install]
    words = re.findall(r"^ENTRYPOINT (.*)$", docker, re.MULTILINE)
    assert [json.loads(word) for word in words] == [["c2t"]]
    build = page_command("container").splitlines()[0]
    assert shlex.split(build)[:2] == ["docker", "build"]
    assert (ROOT / shlex.split(build)[shlex.split(build).index("-f") + 1]).is_file()
    user = re.findall(r"^USER (.*)$", docker, re.MULTILINE)
    assert user == ["10001:10001"]


def test_commands_of_the_container_are_c2ts() -> None:
    lines = re.sub(r"\\\n\s*", "", page_command("container")).splitlines()
    runs = [shlex.split(line, comments=True) for line in lines if " run " in line]
    assert len(runs) == 2
    for words in runs:
        (image,) = [n for n, word in enumerate(words) if word.startswith("c2t:")]
        check_command(words[image + 1 :])


def test_the_image_gets_what_the_package_is_made_of() -> None:
    """Each line of .dockerignore that lets something in, against the package's white list."""
    lines = read(".dockerignore").splitlines()
    admitted = {line[1:] for line in lines if line.startswith("!")}
    tables = tomllib.loads(read("pyproject.toml"))["tool"]["scikit-build"]["wheel"]["packages"]
    needed = {*tables.values(), "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert admitted == needed
    assert "*" in lines
    assert all((ROOT / name).exists() for name in needed)


@pytest.mark.slow
def test_the_installing_step_works_on_what_the_image_gets(tmp_path: Path) -> None:
    """What .dockerignore lets in, the page's command, and c2t as the image's entry calls it."""
    for line in read(".dockerignore").splitlines():
        place = ROOT / line.removeprefix("!")
        if line.startswith("!") and place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(place, tmp_path / line.removeprefix("!"), ignore=ignored)
        elif line.startswith("!"):
            shutil.copy(place, tmp_path)
    # It would find the modules of the environment that runs this test.
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    clean["PATH"] = os.pathsep.join(
        folder for folder in clean["PATH"].split(os.pathsep) if ".venv" not in folder
    )
    environment = {**clean, "C2T_REQUIRE_NATIVE": "1"}
    run = ["bash", "-euo", "pipefail", "-c"]
    subprocess.run([*run, page_command("install")], cwd=tmp_path, env=environment, check=True)
    told = subprocess.run(
        [tmp_path / ".venv/bin/c2t", "describe", BUNDLE, CELLS, "--engine", "cpu"],
        cwd=tmp_path.parent,
        env={**clean, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(told.stdout.splitlines()) == 3
