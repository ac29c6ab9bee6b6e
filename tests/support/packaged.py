"""What lies in `packaging/`, and its commands: checked against c2t's command line, and run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import typer.main

from c2t.cli import app

ROOT = Path(__file__).parent.parent.parent
PACKAGING = ROOT / "packaging"
GALAXY = PACKAGING / "galaxy"
MODULE = PACKAGING / "nf-core/modules/nf-core/c2t/describe"
CELLS = GALAXY / "test-data/cells.h5ad"
BUNDLE = ROOT / "tests/data/tiny_bundle"


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def page_command(name: str) -> str:
    """A command of the page about installing."""
    page = read("docs/how-to/install.md")
    found = re.search(rf"<!-- command: {name} -->\n```bash\n(.*?)\n```", page, re.DOTALL)
    assert found, f"the page has no command {name}"
    return found[1]


def load_script(path: str) -> ModuleType:
    """A script of `packaging/`, as a module."""
    name = f"packaging_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, PACKAGING / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


def bash(command: str, folder: Path) -> None:
    """Run a command as Galaxy and Nextflow do."""
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def check_command(words: list[str]) -> None:
    """Refuse what c2t's own command line would refuse."""
    group = typer.main.get_command(app)
    if words == ["--version"]:
        return
    name, command, rest = group.resolve_command(group.make_context("c2t", [*words]), [*words])
    assert name
    assert command
    command.make_context(name, rest)
