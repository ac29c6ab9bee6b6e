"""The benchmark's cells are those of the file that it is given, or made by itself."""

from __future__ import annotations

import numpy as np
from cli_process import make_cells

from c2t.runtime.bench.kernel_cells import load_bench_cells
from c2t.runtime.bench.kernels import KernelBenchOptions


def test_cells_of_a_file(tmp_path):
    path = make_cells(tmp_path / "mine.h5ad", 4)
    cells = load_bench_cells(KernelBenchOptions(cells=path, rank_cells=3))
    assert (cells.source, cells.counts.shape) == ("mine", (3, 60))


def test_without_a_file_nothing_is_looked_for(tmp_path, monkeypatch):
    folder = tmp_path / "cells"
    folder.mkdir()
    make_cells(folder / "pbmc3k_labelled_raw.h5ad", 4)
    monkeypatch.setenv("C2T_SHARED_DATA", str(tmp_path))
    cells = load_bench_cells(KernelBenchOptions(rank_cells=20))
    assert cells.source == "synthetic counts"
    assert cells.counts.shape[0] == 20
    assert 700 < np.diff(cells.counts.indptr).mean() < 1100
