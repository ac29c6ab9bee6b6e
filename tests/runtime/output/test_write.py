"""Outputs of a run: every format read back, and what is refused before it begins."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cell_libraries import anndata, needs_anndata
from fake_descriptions import AWKWARD, FakeModel, N, make_run, write

from c2t.runtime.cells.options import read_ids
from c2t.runtime.output.formats import OUTPUT_FORMATS, OutputFormat
from c2t.runtime.output.journal import journal_path
from c2t.runtime.output.record import FIELD_COLUMNS, Record
from c2t.runtime.output.text_files import write_csv
from c2t.runtime.output.write import (
    DescribeInterrupted,
    describe_to_files,
    plan_outputs,
)
from c2t.runtime.system.errors import CellFileError, OutputError


def test_jsonl(cells: Path, tmp_path: Path) -> None:
    summary = write(cells, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert list(records[0]) == [
        "cell",
        "text",
        "confidence",
        "cell_type_confidence",
        "genes_used",
        "error",
        *FIELD_COLUMNS,
    ]
    assert [record["cell"] for record in records] == [f"cell{i}" for i in range(N)]
    assert records[5]["text"] == AWKWARD
    assert records[3] == {
        "cell": "cell3",
        "text": None,
        "confidence": None,
        "cell_type_confidence": None,
        "genes_used": 0,
        "error": "no counts",
        **dict.fromkeys(FIELD_COLUMNS),
    }
    assert (summary.cells, summary.failed, summary.resumed) == (N, 1, 0)
    assert not journal_path(tmp_path / "out.jsonl").exists()


def test_csv(cells: Path, tmp_path: Path) -> None:
    write(cells, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["cell"] for row in rows] == [f"cell{i}" for i in range(N)]
    assert rows[5]["text"] == AWKWARD
    assert rows[3]["text"] == ""
    assert rows[3]["error"] == "no counts"
    assert float(rows[4]["confidence"]) == 0.25


def test_csv_keeps_every_sign_of_a_text(tmp_path: Path) -> None:
    """A carriage return alone, too: a model may write any."""
    texts = ["one\rtwo", "\r", "one\r\ntwo", "one\ntwo", 'say "no", twice', "a,b", " x "]
    records = [
        Record(
            row=row,
            cell=f"cell{row}",
            text=text,
            confidence=0.5,
            cell_type_confidence=None,
            genes_used=3,
            error=None,
        )
        for row, text in enumerate(texts)
    ]
    write_csv(tmp_path, tmp_path / "out.csv", records, {})
    content = (tmp_path / "out.csv").read_bytes()
    assert content.endswith(b"\n")
    assert not content.endswith(b"\r\n")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == texts


def test_parquet(cells: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(cells, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("text").to_pylist()[5] == AWKWARD
    assert table.column("confidence").to_pylist()[3] is None
    assert table.column("genes_used").to_pylist()[4] == 14
    assert json.loads(table.schema.metadata[b"c2t"])["bundle"] == "tiny"


def test_parquet_without_pyarrow(cells: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match="needs pyarrow") as caught:
        plan_outputs(cells, tmp_path / "out.parquet")
    assert 'pip install "c2t[parquet]"' in caught.value.hint


@needs_anndata
def test_obs_copy_is_readable_and_the_original_untouched(cells: Path, tmp_path: Path) -> None:
    before = cells.read_bytes()
    (target,) = plan_outputs(cells, None, write_obs=True)
    assert target.name == "cells.c2t.h5ad"
    run = make_run(cells, rows=np.array([2, 3, 5]))
    describe_to_files(run, (target,), FakeModel(rows=[2, 3, 5]))
    assert cells.read_bytes() == before
    copy = anndata.read_h5ad(target)
    assert list(copy.obs.columns) == [
        "label",
        "depth",
        "c2t_description",
        "c2t_confidence",
        "c2t_cell_type_confidence",
        "c2t_error",
    ]
    assert copy.obs["c2t_description"].tolist()[2:6] == ["text 2", "", "", AWKWARD]
    assert copy.obs["c2t_confidence"].iloc[5] == 5 / 16
    assert np.isnan(copy.obs["c2t_confidence"].iloc[0])
    assert copy.obs["c2t_error"].iloc[3] == "no counts"
    assert copy.uns["c2t"]["bundle_sha256"] == "b" * 64
    assert copy.uns["c2t"]["cells"] == 3
    assert copy.uns["c2t"]["cells_with_errors"] == 1
    assert copy.uns["c2t"]["generation"]["num_beams"] == 1
    assert copy.uns["note"] == "kept"
    assert copy.layers["counts"].sum() == N * 4
    # The copy can be described again: what is there is replaced, not repeated.
    again = tmp_path / "again.h5ad"
    describe_to_files(make_run(target), (again,), FakeModel())
    assert list(anndata.read_h5ad(again).obs.columns) == list(copy.obs.columns)
    assert anndata.read_h5ad(again, backed="r").obs["c2t_description"].iloc[0] == "text 0"


def test_old_layout_is_refused_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["obs"] = np.array([(b"cell0", 1.0)], dtype=[("index", "S5"), ("depth", "f4")])
    with pytest.raises(OutputError, match=r"layout of anndata before 0\.7"):
        plan_outputs(tmp_path / "old.h5ad", None, write_obs=True)
    assert plan_outputs(tmp_path / "old.h5ad", tmp_path / "out.csv")


def test_two_outputs_of_one_run(cells: Path, tmp_path: Path) -> None:
    targets = plan_outputs(cells, tmp_path / "out.csv", write_obs=True)
    assert [target.name for target in targets] == ["out.csv", "cells.c2t.h5ad"]
    model = FakeModel()
    describe_to_files(make_run(cells), targets, model)
    assert model.seen == list(range(N))
    assert all(target.is_file() for target in targets)


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_when_the_second_output_fails_there_is_no_first(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    targets = plan_outputs(cells, tmp_path / "out.csv", write_obs=True)

    def failing(*_: object) -> None:
        raise trouble

    with monkeypatch.context() as patch:
        patch.setitem(OUTPUT_FORMATS, ".h5ad", OutputFormat(failing))
        with pytest.raises((OutputError, DescribeInterrupted)) as caught:
            describe_to_files(make_run(cells), targets, FakeModel())
    if isinstance(caught.value, OutputError):
        assert caught.value.problem.endswith("cells.c2t.h5ad: No space left on device")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".out.csv.partial", "cells.h5ad"]
    # The same command again, as the hint says.
    targets = plan_outputs(cells, tmp_path / "out.csv", write_obs=True)
    assert describe_to_files(make_run(cells), targets, FakeModel()).resumed == N
    assert all(target.is_file() for target in targets)


def test_plan_refuses_at_once(cells: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        plan_outputs(cells, tmp_path / "out.csv")
    assert plan_outputs(cells, tmp_path / "out.csv", force=True)
    with pytest.raises(OutputError, match=r"cells\.h5ad is the file of cells itself"):
        plan_outputs(cells, cells, force=True)
    with pytest.raises(OutputError, match="suffix") as caught:
        plan_outputs(cells, tmp_path / "out.xlsx")
    assert ".parquet" in caught.value.hint


def test_ids_of_cells(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\n\n c \n")
    assert read_ids(str(tmp_path / "ids.txt")) == ["a", "c"]
    assert read_ids("a, b,") == ["a", "b"]
    assert len(read_ids(",".join(["cell"] * 5000))) == 5000
    with pytest.raises(CellFileError, match="no cell ids"):
        read_ids(" ,")
