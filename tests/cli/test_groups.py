"""`c2t describe --group-by` and `--embedding`: what they write, and what is refused before."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from cell_libraries import needs_anndata, pd
from cli_process import Command, random_cells

from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.model import open_model

pytestmark = needs_anndata


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 cells with columns to group by."""
    adata = random_cells(30)
    adata.obs["louvain"] = pd.Categorical(["0", "1", "2"] * 10, categories=["0", "1", "2", "3"])
    adata.obs["batch"] = [np.nan] * 5 + [1.0, 2.0] * 12 + [1.0]
    path = tmp_path_factory.mktemp("grouped") / "grouped.h5ad"
    adata.write_h5ad(path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_column_groups_and_each_group_has_its_text(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    done = call_c2t("describe", bundle, grouped, "-o", out, "--group-by", "louvain")
    assert done.returncode == 0, done.stderr
    assert "3 groups by obs['louvain']" in done.stderr
    assert "out.groups.csv" in done.stderr
    groups = table(tmp_path / "out.groups.csv")
    assert [(g["group"], g["cells"], g["errors"]) for g in groups] == [
        *(("0", "10", "1"), ("1", "10", "0"), ("2", "10", "1"))
    ]
    assert all(g["text_of_mean_vectors"] for g in groups)
    # The tiny model's weights are random: it names no cell type.
    assert {(g["state"], g["cell_type"]) for g in groups} == {("unnamed", "")}
    assert {row["group"] for row in table(out)} == {"0", "1", "2"}
    plain = tmp_path / "plain.csv"
    call_c2t(
        *("describe", bundle, grouped, "-o", plain, "--group-by", "louvain", "--no-group-text")
    )
    rest = [{k: v for k, v in g.items() if not k.startswith("text")} for g in groups]
    without = table(tmp_path / "plain.groups.csv")
    assert [{k: v for k, v in g.items() if not k.startswith("text")} for g in without] == rest
    assert not any(g["text_of_mean_vectors"] for g in without)


def test_missing_values_are_said(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    options = ("--group-by", "batch", "--json", "--no-group-text")
    done = call_c2t("describe", bundle, grouped, "-o", out, *options)
    assert "warning: 5 cells have no value in obs['batch'] and are in no group" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["groups"].startswith("2 groups by obs['batch']")
    assert summary["outputs"] == [str(out), str(tmp_path / "out.groups.csv")]


def test_only_the_chosen_cells_are_grouped(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    options = ("--group-by", "louvain", "--cells", "cell0,cell1,cell4", "--no-group-text")
    call_c2t("describe", bundle, grouped, "-o", out, *options)
    assert [(g["group"], g["cells"]) for g in table(tmp_path / "out.groups.csv")] == [
        *(("0", "1"), ("1", "2"))
    ]


def test_clusters_and_embedding_in_a_copy(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    pytest.importorskip("igraph")
    out = tmp_path / "out.h5ad"
    options = ("--group-by", "leiden", "--resolution", 0.5, "--embedding")
    done = call_c2t("describe", bundle, grouped, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert "groups by leiden of the encoder's embedding, resolution 0.5" in done.stderr
    assert "2 cells have no embedding" in done.stderr
    with h5py.File(out) as file:
        vectors = file["obsm/X_c2t"][:]
        assert file["uns/c2t/groups/resolution"][()] == 0.5
        assert file["uns/c2t/groups/cells_without_group"][()] == 2
        group_codes = file["obs/c2t_group/codes"][:]
    described = list(open_model(bundle).describe(grouped, DescribeOptions(embedding=True)))
    empty = np.full(vectors.shape[1], np.nan, np.float32)
    expected = [d.embedding if d.embedding is not None else empty for d in described]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.flatnonzero(group_codes < 0).tolist() == [3, 5]


def test_own_clusters_called_leiden_come_first(
    call_c2t: Command, bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("igraph")
    adata = random_cells(12)
    adata.obs["leiden"] = ["mine"] * 12
    adata.write_h5ad(tmp_path / "own.h5ad")
    where = ("describe", bundle, tmp_path / "own.h5ad", "--group-by", "leiden", "--no-group-text")
    done = call_c2t(*where, "-o", tmp_path / "a.csv")
    assert "1 group by obs['leiden']" in done.stderr
    assert [g["group"] for g in table(tmp_path / "a.groups.csv")] == ["mine"]
    done = call_c2t(*where, "-o", tmp_path / "b.csv", "--resolution", 1)
    assert "obs['leiden'] is left alone: a resolution asks for new clusters" in done.stderr
    assert table(tmp_path / "b.groups.csv")[0]["group"] == "0"


@pytest.mark.parametrize(
    ("arguments", "code", "problem", "hint"),
    [
        (["--group-by", "louvain"], 1, "lines are printed before", "-o"),
        (["--embedding"], 1, "printed lines hold no embedding", ".parquet"),
        (["-o", "out.csv", "--embedding"], 1, "out.csv holds no embedding", "--write-obs"),
        (["-o", "out.csv", "--group-by", "Louvain"], 1, "no column 'Louvain'", "louvain"),
        (["-o", "out.csv", "--group-by", ""], 1, "a column without a name", "leiden"),
        (["-o", "o.csv", "--min-share", "0.5"], 2, "--min-share is about groups", "--group-by"),
        (["-o", "o.csv", "--resolution", "1"], 2, "--resolution is about groups", "--group-by"),
        (
            ["-o", "o.csv", "--group-by", "louvain", "--resolution", "1"],
            *(2, "not about the column 'louvain'", "--group-by leiden"),
        ),
        (
            ["-o", "o.csv", "--group-by", "leiden", "--resolution", "-1"],
            *(1, "the resolution is -1", "above 0"),
        ),
        (["-o", "o.csv", "--group-by", "louvain", "--min-share", "2"], 2, "2", "--help"),
        (
            ["-o", "o.parts", "--group-by", "leiden"],
            *(1, "which these parts would not hold", "--embedding"),
        ),
        (["-o", "taken.csv", "--group-by", "louvain"], 1, "taken.groups.csv exists", "--force"),
    ],
)
def test_what_cannot_be_right_is_refused_and_nothing_written(
    call_c2t: Command,
    bundle: Path,
    grouped: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    problem: str,
    hint: str,
) -> None:
    (tmp_path / "taken.groups.csv").write_text("mine")
    done = call_c2t("describe", bundle, grouped, *arguments, cwd=tmp_path)
    assert done.returncode == code
    error, tip = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert problem in error
    assert tip.startswith("hint: ")
    assert hint in tip
    assert [path.name for path in tmp_path.iterdir()] == ["taken.groups.csv"]
    assert (tmp_path / "taken.groups.csv").read_text() == "mine"


def test_a_file_with_no_room_for_an_embedding_is_refused_before(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.h5ad"
    odd.write_bytes(grouped.read_bytes())
    with h5py.File(odd, "r+") as file:
        del file["obsm"]
        file["obsm"] = [1, 2, 3]
    done = call_c2t("describe", bundle, odd, "-o", tmp_path / "out.h5ad", "--embedding")
    assert done.returncode == 1
    assert "holds no group where /obsm should be" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["odd.h5ad"]
    # Without an embedding nothing is to be added there.
    done = call_c2t("describe", bundle, odd, "-o", tmp_path / "out.h5ad", "--limit", 2)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["obsm", "X_c2t"])
def test_links_where_the_embedding_goes_are_never_followed(
    call_c2t: Command, bundle: Path, grouped: Path, tmp_path: Path, name: str
) -> None:
    victim, odd = tmp_path / "victim.h5", tmp_path / "odd.h5ad"
    odd.write_bytes(grouped.read_bytes())
    with h5py.File(victim, "w") as file:
        file["X_c2t"] = [1.0]
    before = victim.read_bytes()
    with h5py.File(odd, "r+") as file:
        if name == "obsm":
            del file["obsm"]
            file["obsm"] = h5py.ExternalLink(str(victim), "/")
        else:
            file["obsm/X_c2t"] = h5py.ExternalLink(str(victim), "/X_c2t")
    done = call_c2t("describe", bundle, odd, "-o", tmp_path / "out.h5ad", "--embedding")
    assert done.returncode == 1
    assert "link" in done.stderr
    assert victim.read_bytes() == before
    assert not (tmp_path / "out.h5ad").exists()
