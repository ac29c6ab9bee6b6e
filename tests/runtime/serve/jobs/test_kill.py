"""`kill -9` loses nothing that was finished, and nothing half-written is taken for finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import make_cells
from serve_kill import Expected, kill_often, run_to_the_end

CELLS = 150


@pytest.fixture
def expected(tmp_path: Path) -> Expected:
    return Expected.of(make_cells(tmp_path / "cells.h5ad", CELLS), tmp_path)


@pytest.mark.slow
def test_a_service_that_is_killed_often_goes_on(tmp_path: Path, expected: Expected) -> None:
    longest = run_to_the_end(tmp_path / "undisturbed", expected)
    found = kill_often(tmp_path, expected, kills=12, longest=longest, seed=12)
    assert len(found) == 12


def test_a_killed_service_goes_on(tmp_path: Path, expected: Expected) -> None:
    assert len(kill_often(tmp_path, expected, kills=2, longest=0.5, seed=0)) == 2
