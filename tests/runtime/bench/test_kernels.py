"""The benchmark of the kernels: its cells, its checks, and its document."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_process import Command, make_cells

from c2t.kernels.errors import KernelError
from c2t.runtime.bench.kernel_embedding import bench_embedding
from c2t.runtime.bench.kernel_ranking import bench_ranking, load_bench_cells
from c2t.runtime.bench.kernels import KernelBenchOptions, bench_kernels, kernels_text

QUICK = KernelBenchOptions(rounds=1, threads=1, lengths=(64,), hidden_sizes=(16,), rank_cells=20)


def test_cells_of_a_file(tmp_path: Path) -> None:
    path = make_cells(tmp_path / "mine.h5ad", 4)
    cells = load_bench_cells(path, 3, 0)
    assert (cells.source, cells.counts.shape) == ("mine", (3, 60))


def test_cells_without_a_file_are_like_blood_cells() -> None:
    cells = load_bench_cells(None, 20, 0)
    assert cells.source == "synthetic counts"
    assert cells.counts.shape[0] == 20
    assert 700 < np.diff(cells.counts.indptr).mean() < 1100


def test_document_and_page() -> None:
    document = bench_kernels(QUICK)
    json.dumps(document)
    (entry,) = document["embedding"]
    assert (entry["length"], entry["hidden_size"]) == (64, 16)
    assert entry["times_numpy"] > 0
    assert document["encoding"]["cells"] == 20
    assert len(document["targets"]) == 4  # the fifth is beside PyTorch
    page = kernels_text(document)
    assert "20 cells of synthetic counts" in page
    assert page.count(", target ") == 4


def test_another_embedding_is_refused() -> None:
    def make_wrong(tables: object, threads: int) -> object:
        return lambda tokens: np.zeros((*tokens.shape, 16), np.float32)

    with pytest.raises(KernelError, match=r"the embedding \(wrong\) differs from the definition"):
        bench_embedding(8, 16, threads=1, rounds=1, seed=0, peers={"wrong": make_wrong})


def test_another_ranking_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = load_bench_cells(None, 3, 0)
    ranking = "c2t.runtime.bench.kernel_ranking.rank_like_the_tokenizer"
    monkeypatch.setattr(ranking, lambda cells: [np.array([2], np.int32)] * 3)
    with pytest.raises(KernelError, match="the loop over cells differ in cell 0"):
        bench_ranking(cells, 1, 1)
    monkeypatch.undo()
    halved = replace(cells.options, max_tokens=cells.options.max_tokens // 2)
    assert bench_ranking(replace(cells, options=halved), 1, 1)["cells"] == 3


@pytest.mark.slow
def test_command_measures_the_kernels(call_c2t: Command, tmp_path: Path) -> None:
    cells = make_cells(tmp_path / "mine.h5ad", 4)
    done = call_c2t("bench", "kernels", "--cells", cells, "-o", tmp_path / "report", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["encoding"]["source"] == "mine"
    assert {f.name for f in (tmp_path / "report").iterdir()} == {"bench.json", "bench.txt"}
