"""Where the real data are that tests may use, and the skip that names what is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("C2T_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def shared(name: str) -> Path:
    """Return the path of a shared file or folder; skip the test if it is not there."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"no shared data: {name} (set C2T_SHARED_DATA to the folder that holds it)")
    return path
