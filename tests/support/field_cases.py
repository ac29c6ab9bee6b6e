"""Checkpoints after public bug reports, made by generators that lie outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("C2T_SHARED_CASES", Path(__file__).parents[3] / "shared" / "cases"))


def make_checkpoint(name: str, folder: Path) -> Path:
    """Write the checkpoint of a case; skip the test where the generators are not.

    Returns:
        `folder`, with expected.json (options, tokens and texts of PyTorch) and expected.npz.
    """
    script = ROOT / "checkpoints" / "_make.py"
    if not (script.parent / f"{name}.py").is_file():
        pytest.skip(f"no case {name} (set C2T_SHARED_CASES to the folder that holds checkpoints/)")
    command = [sys.executable, str(script), name, str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return folder
