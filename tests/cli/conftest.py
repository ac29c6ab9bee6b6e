"""A bundle with golden cells, and a file of cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import make_cells


@pytest.fixture(scope="session")
def bundle(tiny_bundle_folder: Path) -> Path:
    return tiny_bundle_folder


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 20)
