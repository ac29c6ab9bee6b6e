"""The page and the picture of the architecture are those that the code makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import c2t

DOCS = Path(c2t.__file__).parent / "docs"


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
