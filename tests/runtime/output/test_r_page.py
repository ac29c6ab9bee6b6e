"""The page for users of R: its commands run in its order, and what cannot run here is marked."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/how-to/r.md"
BLOCK = re.compile(r"(<!-- not run -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[bool, str, str]]:
    """Whether it runs, its language, and its text."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [(not mark, kind, text) for mark, kind, text in found]


def test_the_pages_commands_run(tmp_path: Path, tiny_bundle_folder: Path) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed")
    has_matrix = ["Rscript", "-e", 'quit(status = !requireNamespace("Matrix", quietly = TRUE))']
    if subprocess.run(has_matrix, check=False).returncode:
        pytest.skip("R's package Matrix is not installed")
    (tmp_path / "BUNDLE").symlink_to(tiny_bundle_folder)
    scripts = sysconfig.get_path("scripts")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    run = [block for block in blocks() if block[0]]
    assert [kind for _, kind, _ in run] == ["r", "r", "bash", "r", "r"]
    for number, (_, kind, text) in enumerate(run):
        script = tmp_path / f"block{number}"
        script.write_text(text, encoding="utf-8")
        words = ["Rscript", "--vanilla", script] if kind == "r" else ["bash", "-eu", script]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    with (tmp_path / "described.csv").open(encoding="utf-8", newline="") as table:
        assert [row["cell"] for row in csv.DictReader(table)] == [f"cell{n}" for n in range(1, 7)]


def test_only_what_needs_other_packages_is_not_run() -> None:
    for runs, kind, text in blocks():
        packages = set(re.findall(r"(\w+)::", text))
        if kind == "r":
            assert runs == (not packages and "described$obs" not in text), text
            assert packages <= {"SeuratObject", "SingleCellExperiment", "anndataR"}
