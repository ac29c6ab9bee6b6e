"""Inputs after public bug reports, made by generators that lie beside the repository."""

from __future__ import annotations

import os
import runpy
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
from cell_libraries import MISSING, anndata

ROOT = Path(os.environ.get("C2T_SHARED_CASES", Path(__file__).parents[3] / "shared" / "cases"))


def cell_case(name: str, output: Path, clean: Path) -> Path:
    """Write a file of cells by its generator; skip the test if the generator is not there.

    Args:
        name: The generator's name, without suffix.
        output: The file to write.
        clean: The file that it changes: of `_clean40`, or of pbmc3k for `_clean40` itself.
    """
    if MISSING:
        pytest.skip(f"not installed, and generators need it: {', '.join(MISSING)} (c2t[demo])")
    script = ROOT / "cells" / f"{name}.py"
    if not script.exists():
        pytest.skip(f"no shared case: {name} (set C2T_SHARED_CASES to the folder that holds it)")
    setting = "allow_write_nullable_strings"
    before = getattr(anndata.settings, setting, None)
    try:
        with (
            mock.patch.object(sys, "argv", [str(script), str(output), str(clean)]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            runpy.run_path(str(script), run_name="__main__")
    finally:
        if before is not None:
            setattr(anndata.settings, setting, before)
    return output
