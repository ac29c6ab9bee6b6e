"""Files of vectors and scores: every format, errors of cells, groups, and what is refused early."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from cli_process import random_cells
from tiny_data import JOINT, joint_bundle, tiny_bundle

import c2t
from c2t.runtime.search.embed_file import FORMATS, EmbedFileOptions, Vectors, embed_file
from c2t.runtime.search.search_file import SearchFileOptions, search_file
from c2t.runtime.system.errors import C2TError, CellFileError, OutputError, TaskError

BAD = (3, 5)  # cells with an error
TEXTS = ("activated T cells", "a monocyte")


def quiet(_: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = random_cells(12)
    found.obs["cluster"] = ["a", "b", "a", "c", "b", "b", "a", "b", "a", "b", "a", ""]
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    found.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def vectors(cells: Path):
    with c2t.open(JOINT) as model:
        return model.embed(cells)


@pytest.fixture(scope="module")
def scores(cells: Path) -> np.ndarray:
    with c2t.open(JOINT) as model:
        return model.search(cells, TEXTS).scores


def embed(cells: Path, output: Path, **other: object):
    options = EmbedFileOptions(cells=cells, output=output, **other)
    return embed_file(joint_bundle(), options, report=quiet)


def search(cells: Path, *texts: str, report=quiet, **other: object):
    options = SearchFileOptions(cells=cells, queries=texts or TEXTS, **other)
    return search_file(joint_bundle(), options, report=report)


def test_npz_holds_vectors_without_pickles(cells: Path, vectors, tmp_path: Path) -> None:
    done = embed(cells, tmp_path / "v.npz")
    assert (done.cells, done.failed, done.size, done.joint_size) == (12, 2, 16, 20)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["joint"], vectors.joint)
        np.testing.assert_array_equal(stored["embedding"], vectors.embedding)
        said = {name: json.loads(stored[name].tobytes()) for name in ("cells", "errors", "about")}
    assert said["cells"] == list(vectors.ids)
    assert [error is not None for error in said["errors"]] == [n in BAD for n in range(12)]
    assert said["about"]["bundle"] == "model"


def test_one_long_name_costs_the_others_nothing(tmp_path: Path) -> None:
    count, long = 2000, "x" * 20_000
    vectors = Vectors(
        ids=[long, *(f"zelle-é-{n}" for n in range(1, count))],
        rows=np.arange(count),
        embedding=np.zeros((count, 2), np.float32),
        joint=None,
        errors=[long, *[""] * (count - 1)],
        about={},
    )
    tracemalloc.start()
    FORMATS[".npz"].write(vectors, tmp_path / "cells.h5ad", tmp_path / "v.npz")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 << 20  # an array of strings would have had 160 MB
    assert (tmp_path / "v.npz").stat().st_size < 1 << 20
    with np.load(tmp_path / "v.npz", allow_pickle=False) as stored:
        assert json.loads(stored["cells"].tobytes()) == vectors.ids
        assert json.loads(stored["errors"].tobytes())[:2] == [long, None]


def test_parquet_has_null_for_cells_with_errors(cells: Path, vectors, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    embed(cells, tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet").to_pydict()
    assert list(table) == ["cell", "embedding", "joint", "error"]
    for place in range(12):
        assert (table["joint"][place] is None) == (place in BAD)
        if place not in BAD:
            np.testing.assert_array_equal(np.float32(table["joint"][place]), vectors.joint[place])


@needs_anndata
def test_a_copy_of_the_cells_has_vectors_of_the_chosen_cells(
    cells: Path, vectors, tmp_path: Path
) -> None:
    from c2t.runtime.cells.options import CellOptions

    reading = CellOptions(cells=["cell7", "cell1"])
    embed(cells, tmp_path / "v.h5ad", reading=reading)
    written = anndata.read_h5ad(tmp_path / "v.h5ad")
    expected = np.full_like(vectors.joint, np.nan)
    expected[[1, 7]] = vectors.joint[[1, 7]]
    np.testing.assert_array_equal(written.obsm["X_c2t_joint"], expected)
    assert written.obsm["X_c2t"].shape == (12, 16)
    assert written.uns["c2t_embed"]["cells"] == 2
    before = anndata.read_h5ad(cells)
    np.testing.assert_array_equal(written.X.toarray(), before.X.toarray())
    assert list(written.obs["cluster"]) == list(before.obs["cluster"])


def test_tables_of_scores(cells: Path, scores: np.ndarray, tmp_path: Path) -> None:
    search(cells, output=tmp_path / "s.csv")
    head, *rows = csv.reader((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines())
    assert head == ["cell", *TEXTS, "error"]
    assert [row[1] == "" for row in rows] == [n in BAD for n in range(12)]
    assert float(rows[0][1]) == pytest.approx(float(scores[0, 0]), abs=1e-6)
    search(cells, output=tmp_path / "s.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert lines[3] == {
        "cell": "cell3",
        "scores": dict.fromkeys(TEXTS),
        "error": "cell is empty",
    }
    parquet = pytest.importorskip("pyarrow.parquet")
    search(cells, output=tmp_path / "s.parquet")
    table = parquet.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["cell", "score_1", "score_2", "error"]
    assert table.column("score_2").null_count == 2
    about = json.loads(table.schema.metadata[b"c2t"])
    assert about["texts"] == {"score_1": TEXTS[0], "score_2": TEXTS[1]}


@needs_anndata
def test_scores_as_columns_of_a_copy_and_none_of_an_earlier_run_stays(
    cells: Path, scores: np.ndarray, tmp_path: Path
) -> None:
    search(cells, output=tmp_path / "two.h5ad")
    written = anndata.read_h5ad(tmp_path / "two.h5ad")
    np.testing.assert_allclose(written.obs["c2t_score_2"], scores[:, 1], rtol=1e-6)
    assert list(written.uns["c2t_search"]["texts"]) == list(TEXTS)
    search(tmp_path / "two.h5ad", TEXTS[0], output=tmp_path / "one.h5ad")
    written = anndata.read_h5ad(tmp_path / "one.h5ad")
    assert [name for name in written.obs if name.startswith("c2t_score")] == ["c2t_score"]
    np.testing.assert_allclose(written.obs["c2t_score"], scores[:, 0], rtol=1e-6)


@needs_anndata
def test_best_cells_and_groups(cells: Path, scores: np.ndarray) -> None:
    said: list[str] = []
    done = search(cells, group_by="cluster", top=4, report=said.append)
    assert [found.query for found in done.found] == list(TEXTS)
    clusters = list(anndata.read_h5ad(cells).obs["cluster"])
    for number, found in enumerate(done.found):
        own = scores[:, number]
        order = sorted((n for n in range(12) if n not in BAD), key=lambda n: -own[n])
        assert [cell.cell for cell in found.cells] == [f"cell{n}" for n in order[:4]]
        assert [cell.group for cell in found.cells] == [clusters[n] or None for n in order[:4]]
        assert found.groups is not None
        members = {
            name: [n for n in range(12) if clusters[n] == name and n not in BAD] for name in "ab"
        }
        means = {name: float(np.mean(own[of])) for name, of in members.items()}
        assert [group.group for group in found.groups] == sorted(means, key=lambda n: -means[n])
        for group in found.groups:  # "c" has no cell but one with an error
            assert group.score == pytest.approx(means[group.group], abs=1e-4)
            assert group.cells == len(members[group.group])
    assert any("no value in obs['cluster']" in sentence for sentence in said)


def test_says_which_texts_were_cut(cells: Path) -> None:
    said: list[str] = []
    search(cells, "a cell " * 40, report=said.append)
    assert any("longer than the 32 tokens" in sentence for sentence in said)


def test_refuses_what_cannot_be_written_or_found(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no suffix"):
        embed(cells, tmp_path / "v.txt")
    with pytest.raises(OutputError, match="no suffix"):
        search(cells, output=tmp_path / "s.npz")
    with pytest.raises(OutputError):
        embed(cells, cells, force=True)
    (tmp_path / "there.npz").write_text("kept")
    with pytest.raises(OutputError):
        embed(cells, tmp_path / "there.npz")
    with pytest.raises(CellFileError, match="no column 'clusters'"):
        search(cells, group_by="clusters")
    with pytest.raises(C2TError, match="is empty"):
        search(cells, " ")
    bundle = tiny_bundle().bundle
    with pytest.raises(TaskError, match="cannot search"):
        search_file(bundle, SearchFileOptions(cells=cells, queries=TEXTS), report=quiet)


def test_a_file_of_bad_cells_is_an_error(tmp_path: Path) -> None:
    found = random_cells(8)[[3, 5]]
    path = tmp_path / "bad.h5ad"
    found.write_h5ad(path)
    with pytest.raises(C2TError):
        embed(path, tmp_path / "v.npz")
    assert not (tmp_path / "v.npz").exists()
