"""The code of `docs/how-to/python.md` runs as it is written."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from cell_libraries import anndata
from cli_process import Command, run_c2t
from shared_data import shared

import c2t
from c2t.runtime.summary.cross_table import cross_table

mpl.use("Agg")

from cli_process import random_cells
from matplotlib import pyplot

PAGE = Path(c2t.__file__).parent / "docs" / "how-to" / "python.md"


BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
MADE = (
    "cells.png",
    "labels.png",
    "described.h5ad",
    "report.html",
    "evidence.csv",
    "confidence.pdf",
    "genes.png",
)


def run(folder: Path, call_c2t: Command, *, types: object = None) -> dict[str, Any]:
    """Run all blocks in a folder that has `cells.h5ad` and `BUNDLE`."""
    names: dict[str, Any] = {}
    for kind, block in BLOCKS:
        if kind == "sh":
            done = call_c2t(*block.split()[1:], cwd=folder)
            assert done.returncode == 0, done.stderr
            continue
        if 'groupby="c2t_cell_type"' in block and types is not None:
            names["adata"].obs["c2t_cell_type"] = types
        with warnings.catch_warnings():
            # Cells of the test that have an error, and labels that its bundle never learned.
            warnings.simplefilter("ignore", UserWarning)
            exec(compile(block, str(PAGE), "exec"), names)
    pyplot.close("all")
    for name in MADE:
        assert (folder / name).stat().st_size
    return names


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_page_runs(
    tiny_bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_c2t: Command
) -> None:
    assert [kind for kind, _ in BLOCKS] == ["python", "sh", *["python"] * 4]
    assert len([line for line in BLOCKS[0][1].splitlines() if line.strip()]) <= 10
    cells = random_cells(30)
    cells.obs["cell_type"] = ["a", "b", "c"] * 10
    cells.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "BUNDLE").symlink_to(tiny_bundle_folder)
    monkeypatch.chdir(tmp_path)
    run(tmp_path, call_c2t, types=cells.obs["cell_type"])  # the tiny model names no types


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_page_on_real_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_c2t: Command
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: c2t[export]")
    source = shared("cells/pbmc3k_labelled_raw.h5ad")
    done = run_c2t("demo", "-o", tmp_path / "demo")  # its cells of a panel are warned about
    assert done.returncode == 0, done.stderr
    (tmp_path / "BUNDLE").symlink_to(tmp_path / "demo" / "bundle")
    cells = anndata.read_h5ad(source)[:400].copy()
    cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(400, 2))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.chdir(tmp_path)
    adata = run(tmp_path, call_c2t)["adata"]
    table = cross_table(adata.obs["cell_type"].tolist(), adata.obs["c2t_cell_type"].tolist())
    assert table.rand_index > 0.8
    assert "CD79A" in (tmp_path / "report.html").read_text(encoding="utf-8")
