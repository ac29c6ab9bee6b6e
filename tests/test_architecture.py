"""The documents say what is there: the architecture is made from the code, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import c2t

ROOT = Path(c2t.__file__).parent
DOCS = ROOT / "docs"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md")


def test_architecture_page_and_picture_are_made_from_this_code(tmp_path: Path) -> None:
    # The script imports what lies beside it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, DOCS / "make_architecture.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for name in ("architecture.md", "architecture.svg"):
        made = (tmp_path / name).read_text(encoding="utf-8")
        committed = (DOCS / name).read_text(encoding="utf-8")
        assert made == committed, f"{name} is stale: run `python docs/make_architecture.py`"
    ElementTree.parse(tmp_path / "architecture.svg")  # well-formed


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_folders_of_a_document_are_there(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)  # without those to other hosts
    folders = re.findall(r"`([a-z_]+(?:/[a-z_]+)*/)`", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [folder for folder in folders if not (ROOT / folder).is_dir()]
    assert not missing
