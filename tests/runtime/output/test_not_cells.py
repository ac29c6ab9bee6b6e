"""No output takes the place of the cells, nor of one of the files that they are read from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from cli_process import random_cells, run_c2t
from make_formats import write_zarr

from c2t.runtime.annotate.annotate_file import AnnotateFileOptions
from c2t.runtime.annotate.annotate_file import check_paths as check_annotate
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.describe_file import DescribeFileOptions
from c2t.runtime.output.describe_file import check_paths as check_describe
from c2t.runtime.output.evidence.explain_file import ExplainFileOptions, check_explain_paths
from c2t.runtime.output.not_cells import check_not_cells
from c2t.runtime.system.errors import OutputError

pytestmark = needs_anndata


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "cells.groups.csv"
    path.write_text("cell,clu,ENSG00000000001\na,1,2\n")
    return path


def test_links_to_the_cells(table: Path, tmp_path: Path) -> None:
    soft, hard = tmp_path / "soft.csv", tmp_path / "hard.csv"
    soft.symlink_to(table)
    os.link(table, hard)
    for target in (table, soft, hard):
        with pytest.raises(OutputError, match="is the file of cells itself"):
            check_not_cells(target, table)
    check_not_cells(tmp_path / "new.csv", table)
    check_not_cells(table, tmp_path / "none.h5ad")


def test_files_of_folders_and_of_matrices(tmp_path: Path) -> None:
    cells = random_cells(3)
    cells.obs["kind"] = "a"
    cells.var["symbol"] = cells.var_names
    store = write_zarr(tmp_path / "cells.zarr", cells, 2)
    folder = tmp_path / "matrix"
    folder.mkdir()
    (folder / "result.csv").write_text("an earlier result\n")
    for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv"):
        (folder / name).write_text("1\n")
    of_store = next(file for file in sorted(store.rglob("*")) if file.is_file())
    for target, source in (
        (of_store, store),
        (folder / "genes.tsv", folder),
        (folder / "barcodes.tsv", folder / "matrix.mtx"),
    ):
        with pytest.raises(OutputError, match="one of the files of the cells"):
            check_not_cells(target, source)
    check_not_cells(folder / "new.csv", folder)


@pytest.mark.parametrize("name", ["output", "matrix", "save_calibration"])
def test_annotate(table: Path, tmp_path: Path, name: str) -> None:
    options = AnnotateFileOptions(
        cells=table, labels="x", force=True, output=tmp_path / "o.csv", calibrate_on="clu"
    )
    check_annotate(options)
    with pytest.raises(OutputError, match="the file of cells itself"):
        check_annotate(replace(options, **{name: table}))


def test_explain(table: Path) -> None:
    with pytest.raises(OutputError, match="the file of cells itself"):
        check_explain_paths(ExplainFileOptions(cells=table, output=table, force=True))


def test_the_table_of_groups(table: Path, tmp_path: Path) -> None:
    options = DescribeFileOptions(
        cells=table, output=tmp_path / "cells.csv", force=True, groups=GroupOptions(by="clu")
    )
    with pytest.raises(OutputError, match="the file of cells itself"):
        check_describe(options)
    check_describe(replace(options, groups=None))


def test_the_table_of_groups_among_parts(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "out.parts"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    cells = table.rename(folder / "groups.csv")
    with pytest.raises(OutputError, match="the file of cells itself"):
        check_describe(DescribeFileOptions(cells=cells, output=folder, force=True))


def test_a_proposed_label_map(table: Path, tiny_bundle_folder: Path) -> None:
    before = table.read_bytes()
    done = run_c2t(
        *("evaluate", tiny_bundle_folder, table, "--label-column", "clu"),
        *("--propose-label-map", table, "--force"),
    )
    assert done.returncode == 1
    assert f"{table} is the file of cells itself" in done.stderr
    assert table.read_bytes() == before
