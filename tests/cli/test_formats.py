"""`c2t describe` on other formats of cells: the same texts, results beside them, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from cli_process import Command, random_cells
from make_formats import FORMATS, zipped

pytestmark = needs_anndata


@pytest.fixture(scope="module")
def counted():
    """Twelve cells, all of whose values are counts."""
    return random_cells(20)[6:18].copy()


@pytest.fixture
def expected(call_c2t: Command, bundle: Path, counted, tmp_path: Path) -> bytes:
    counted.write_h5ad(tmp_path / "plain.h5ad")
    done = call_c2t("describe", bundle, tmp_path / "plain.h5ad", "-o", "plain.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return (tmp_path / "plain.csv").read_bytes()


@pytest.mark.parametrize("name", ["10x", "MuData", "MEX", "Parse", "zarr 3", "csv", "h5ad.gz"])
def test_same_texts(
    name: str, call_c2t: Command, bundle: Path, counted, expected: bytes, tmp_path: Path
) -> None:
    if "zarr" in name:
        pytest.importorskip("zarr", reason="zarr is not installed, which writes the store")
    if name == "Parse":
        counted = counted.copy()
        counted.obs["cell_type"] = "x"
    path = FORMATS[name](tmp_path, counted)
    out = (path if path.is_dir() and name != "zarr 3" else tmp_path) / "out.csv"  # beside the cells
    done = call_c2t("describe", bundle, path, "-o", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == expected
    done = call_c2t("describe", bundle, path, "--write-obs")
    assert done.returncode == 1
    assert "results go into a copy of an .h5ad file" in done.stderr
    assert "-o NAME.parquet" in done.stderr


def test_parts_and_orthologues(
    call_c2t: Command, bundle: Path, counted, expected: bytes, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        FORMATS["MEX"](tmp_path / "run" / name, counted)
    path = zipped(tmp_path / "run.zip", tmp_path / "run")
    done = call_c2t("describe", bundle, path, "-o", tmp_path / "out.csv")
    assert "has 2 matrices: one/" in done.stderr
    part = "two/filtered_feature_bc_matrix"
    done = call_c2t("describe", bundle, path, "-o", tmp_path / "out.csv", "--part", part)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_bytes() == expected

    mouse = counted.copy()
    mouse.var_names = [name.replace("ENSG", "ENSMUSG") for name in mouse.var_names]
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    pairs = zip(mouse.var_names, counted.var_names, strict=True)
    table = "".join(f"{theirs}\t{ours}\n" for theirs, ours in [("mouse", "human"), *pairs])
    (tmp_path / "pairs.tsv").write_text(table)
    words = ("describe", bundle, tmp_path / "mouse.h5ad", "-o", tmp_path / "mouse.csv")
    assert "look like another species" in call_c2t(*words).stderr
    assert "table of orthologues" in call_c2t(*words, "--species", "mouse").stderr
    (tmp_path / "link.tsv").symlink_to(tmp_path / "pairs.tsv")
    given = ("--species", "mouse", "--orthologues", tmp_path / "link.tsv")
    done = call_c2t(*words, *given)
    assert done.returncode == 0, done.stderr
    assert "(100%) and 100% of the counts are carried over" in done.stderr
    assert "its texts are guesses" in done.stderr
    assert (tmp_path / "mouse.csv").read_bytes() == expected


def test_bundle_says_its_species(call_c2t: Command, bundle: Path) -> None:
    assert "species      human" in call_c2t("info", bundle).stdout
    assert json.loads(call_c2t("info", bundle, "--json").stdout)["species"] == "human"
