"""A bundle with golden cells, and a file of cells."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from cli_process import make_cells


@pytest.fixture(scope="session")
def bundle(tiny_bundle_folder: Path) -> Path:
    return tiny_bundle_folder


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 20)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Options that name a trail, its key and its head."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "key").write_text(secrets.token_hex(32))
    key, head = tmp_path / "key", tmp_path / "head"
    return ("--audit", tmp_path / "trail", "--audit-key", key, "--audit-head", head)
