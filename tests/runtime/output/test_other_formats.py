"""Results of other formats of cells: how their files are marked, and what is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from make_cells import adata, write
from make_formats import FORMATS, put

from c2t.runtime.output.cells_mark import CellsMark, source_sha256, source_states
from c2t.runtime.output.write import plan_outputs
from c2t.runtime.system.errors import OutputError

pytestmark = needs_anndata


def made(name: str, folder: Path) -> Path:
    if "zarr" in name:
        pytest.importorskip("zarr", reason="zarr is not installed, which writes the store")
    return FORMATS[name](folder, adata())


@pytest.mark.parametrize("name", FORMATS)
def test_no_copy_of_what_is_no_h5ad(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    for asked in ({"write_obs": True}, {"output": tmp_path / "out.h5ad"}):
        with pytest.raises(
            OutputError, match=r"results go into a copy of an \.h5ad file"
        ) as caught:
            plan_outputs(path, **{"output": None} | asked)
        assert ".parquet" in caught.value.hint
    assert plan_outputs(path, tmp_path / "out.csv")
    assert plan_outputs(write(tmp_path / "plain.h5ad", adata()), None, write_obs=True)


@pytest.mark.parametrize("name", FORMATS)
def test_mark_tells_a_change(name: str, tmp_path: Path) -> None:
    path = made(name, tmp_path)
    mark, states, digest = CellsMark.of(path), source_states(path), source_sha256(path)
    put((path if path.is_dir() and "zarr" not in name else tmp_path) / "out.jsonl", "{}\n")
    assert CellsMark.of(path) == mark  # what is written beside the cells is none of them
    assert source_states(path) == states
    mark.check_unchanged(path, hint="x")
    names = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "out.jsonl")
    for file in [names[0], names[-1]] if path.is_dir() else [path]:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert CellsMark.of(path) != mark
        assert source_sha256(path) != digest
        with pytest.raises(OutputError, match="changed while it was described"):
            mark.check_unchanged(path, hint="x")
        file.write_bytes(content)
        assert CellsMark.of(path) == mark
        file.unlink()
        with pytest.raises(OutputError):
            mark.check_unchanged(path, hint="x")
        file.write_bytes(content)


def test_mark_of_a_folder_of_several_matrices(tmp_path: Path) -> None:
    """One is chosen by an option; which, a mark does not know. The output may lie among them."""
    run = tmp_path / "run"
    run.mkdir()
    for sample in ("s1_", "s2_"):
        for file in made("MEX", tmp_path / sample).iterdir():
            file.rename(run / f"{sample}{file.name}")
    files = sorted(run.iterdir())
    assert len(files) == 6
    mark, states, digest = CellsMark.of(run), source_states(run), source_sha256(run)
    assert len(states) == 6
    for name in ("out.jsonl", ".out.jsonl.partial", "out.h5ad", "results.csv"):
        put(run / name, "{}\n")
    assert CellsMark.of(run) == mark
    assert source_states(run) == states
    assert source_sha256(run) == digest
    mark.check_unchanged(run, hint="x")
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(OutputError, match="changed while it was described"):
            mark.check_unchanged(run, hint="x")
        file.write_bytes(content)


def test_mark_of_a_matrix_that_is_given_as_a_file(tmp_path: Path) -> None:
    folder = made("MEX", tmp_path)
    mark = CellsMark.of(folder / "matrix.mtx.gz")
    (folder / "barcodes.tsv.gz").write_bytes(b"x")
    assert CellsMark.of(folder / "matrix.mtx.gz") != mark
