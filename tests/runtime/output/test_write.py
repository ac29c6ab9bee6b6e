"""Outputs of a run: every format read back, resuming, and what stands in the way of it."""

import csv
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas
import pytest
import scipy.sparse

from c2t.runtime.cells.options import read_ids
from c2t.runtime.describe.description import Description
from c2t.runtime.output.formats import OUTPUT_FORMATS, OutputFormat
from c2t.runtime.output.journal import journal_path
from c2t.runtime.output.write import (
    DescribeEnded,
    DescribeInterrupted,
    Run,
    describe_to_files,
    plan_outputs,
)
from c2t.runtime.system.errors import CellFileError, OutputError

N = 12
AWKWARD = 'a "T cell", from\nblood; café\r\n=1+1'


def description(cell: str, *, genes_used: int, error: str | None = None) -> Description:
    return Description(
        cell=cell,
        text=None,
        confidence=None,
        cell_type_confidence=None,
        genes_used=genes_used,
        error=error,
    )


class FakeModel:
    """Describes rows; stops with `stop` before row `at`, if asked to."""

    def __init__(
        self,
        *,
        rows: Sequence[int] = range(N),
        at: int = -1,
        stop: type[BaseException] = KeyboardInterrupt,
    ) -> None:
        self.rows, self.at, self.stop, self.seen = rows, at, stop, list[int]()

    def __call__(self, start: int) -> Iterator[Description]:
        for row in self.rows[start:]:
            if row == self.at:
                raise self.stop
            self.seen.append(row)
            if row == 3:
                yield description("cell3", genes_used=0, error="no counts")
            else:
                text = AWKWARD if row == 5 else f"text {row}"
                cell_type = None if row == 6 else 0.25
                yield replace(
                    description(f"cell{row}", genes_used=10 + row),
                    text=text,
                    confidence=row / 16,
                    cell_type_confidence=cell_type,
                )


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(np.ones((N, 4), dtype=np.float32)),
        obs=pandas.DataFrame(
            {"label": pandas.Categorical(["a", "b"] * (N // 2)), "depth": np.arange(N)},
            index=[f"cell{i}" for i in range(N)],
        ),
    )
    adata.layers["counts"] = adata.X.copy()
    adata.uns["note"] = "kept"
    adata.write_h5ad(path)
    return path


def make_run(cells: Path, **changes: Any) -> Run:
    run = Run(
        cells=cells,
        rows=np.arange(N),
        bundle="b" * 64,
        options={"beams": "1"},
        about={"bundle": "tiny", "bundle_sha256": "b" * 64, "generation": {"num_beams": 1}},
        c2t_version="0",
    )
    return replace(run, **changes)


def write(cells: Path, target: Path, model: FakeModel | None = None, **options: Any) -> Any:
    return describe_to_files(make_run(cells), (target,), model or FakeModel(), **options)


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
    assert pandas.read_csv(tmp_path / "out.csv")["confidence"][4] == 0.25


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


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_resumed_run_loses_and_repeats_nothing(cells: Path, tmp_path: Path, cut: int) -> None:
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)
    with pytest.raises(DescribeInterrupted) as caught:
        write(cells, target, FakeModel(at=7))
    assert (caught.value.done, caught.value.total) == (7, N)
    assert not target.exists()
    journal = journal_path(target)
    if cut:  # killed in the middle of a line
        journal.write_bytes(journal.read_bytes()[:-cut])
    model = FakeModel()
    summary = write(cells, target, model)
    first = 6 if cut else 7
    assert model.seen == list(range(first, N))
    assert summary.resumed == first
    assert target.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_an_error_keeps_what_was_described(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write(cells, tmp_path / "out.csv", FakeModel(at=7, stop=ZeroDivisionError))
    assert write(cells, tmp_path / "out.csv").resumed == 7


def test_a_run_that_a_signal_ends_says_what_is_kept(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DescribeEnded) as caught:
        write(cells, tmp_path / "out.csv", FakeModel(at=7, stop=SystemExit))
    assert (caught.value.done, caught.value.total) == (7, N)


def test_a_run_stopped_at_once_leaves_nothing(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DescribeInterrupted):
        write(cells, tmp_path / "out.csv", FakeModel(at=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bundle": "d" * 64}, "bundle"),
        ({"options": {"beams": "4"}}, "beams"),
        ({"rows": np.arange(5, N)}, "cells chosen"),
        ({"c2t_version": "1"}, "version of c2t"),
    ],
)
def test_journal_of_another_run_is_refused(
    cells: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    run = make_run(cells, **changes)
    with pytest.raises(OutputError, match=named) as caught:
        describe_to_files(run, (target,), FakeModel())
    assert "--restart" in caught.value.hint
    model = FakeModel(rows=run.rows.tolist())
    assert describe_to_files(run, (target,), model, restart=True).resumed == 0


def test_changed_file_of_cells_is_refused(cells: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    cells.write_bytes(cells.read_bytes() + b"\0")
    with pytest.raises(OutputError, match="changed since"):
        write(cells, target)


def test_a_copied_file_of_cells_is_the_same(cells: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    os.utime(cells, (1, 1))
    assert write(cells, target).resumed == 7


def test_file_of_cells_that_changes_meanwhile(cells: Path, tmp_path: Path) -> None:
    class Meddler(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            yield from super().__call__(start)
            cells.write_bytes(cells.read_bytes() + b"\0")

    with pytest.raises(OutputError, match="changed while"):
        write(cells, tmp_path / "out.jsonl", Meddler())
    assert not (tmp_path / "out.jsonl").exists()


def interrupted(cells: Path, target: Path) -> list[bytes]:
    """A run that stopped after seven cells; the lines of its journal."""
    with pytest.raises(DescribeInterrupted):
        write(cells, target, FakeModel(at=7))
    return journal_path(target).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:3], lines[3][:9] + b"\n", *lines[4:]], "line 4, is damaged"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "line 4, is about row 3"),
        (lambda lines: [*lines[:3], lines[3], *lines[3:]], "line 5, is about row 2, not row 3"),
        (lambda lines: lines[:3] + lines[4:], "line 4, is about row 3, not row 2"),
        (lambda lines: [*lines, *lines[1:]], "line 9, is about row 0"),
        (lambda lines: [*lines[:2], b"\xff\xfe{}\n", *lines[3:]], "line 3, is damaged"),
        (lambda lines: [b"{}\n", *lines[1:]], "cannot be read|is not a journal"),
        (lambda lines: [b"\xff\n", *lines[1:]], "cannot be read|is not a journal"),
    ],
)
def test_a_changed_journal_is_refused(
    cells: Path, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], problem: str
) -> None:
    target = tmp_path / "out.jsonl"
    lines = change(interrupted(cells, target))
    journal_path(target).write_bytes(b"".join(lines))
    with pytest.raises(OutputError, match=problem) as caught:
        write(cells, target)
    assert "--restart" in caught.value.hint


def test_no_flipped_bit_of_a_journal_changes_an_output(cells: Path, tmp_path: Path) -> None:
    """Whatever bit flips, the run is refused or its output is the right one."""
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)
    content = b"".join(interrupted(cells, target))
    refused = 0
    for bit in range(0, 8 * len(content), 29):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        journal_path(target).write_bytes(damaged)
        try:
            write(cells, target, force=True)
        except OutputError:
            refused += 1
        else:
            assert target.read_bytes() == whole.read_bytes(), bit
    assert refused > 100


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_journal_that_is_a_link_or_a_pipe_is_refused(cells: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "out.jsonl", tmp_path / "precious"
    other.write_text("kept")
    journal_path(target).symlink_to(other)
    with pytest.raises(OutputError, match="cannot write"):
        write(cells, target, restart=True)
    assert other.read_text() == "kept"
    journal_path(target).unlink()
    os.mkfifo(journal_path(target))
    with pytest.raises(OutputError, match="is no regular file"):
        write(cells, target)


def test_a_run_whose_journal_is_deleted_still_writes_all_its_cells(
    cells: Path, tmp_path: Path
) -> None:
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    write(cells, whole)

    class Deleted(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            for number, described in enumerate(super().__call__(start)):
                if number == 5:
                    journal_path(target).unlink()
                    journal_path(target).write_text("another run's")
                yield described

    write(cells, target, Deleted())
    assert target.read_bytes() == whole.read_bytes()
    assert journal_path(target).read_text() == "another run's"


def test_a_place_without_locks_is_refused(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match="cannot be locked: No locks available"):
        write(cells, tmp_path / "out.jsonl")


def test_a_long_file_of_cells_is_known_by_samples_and_its_date(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2t.runtime.output.cells_mark.WHOLE_BYTES", 1000)
    monkeypatch.setattr("c2t.runtime.output.cells_mark.SAMPLE_BYTES", 100)
    target = tmp_path / "out.jsonl"
    interrupted(cells, target)
    content = bytearray(cells.read_bytes())
    content[len(content) // 2] ^= 1
    cells.write_bytes(content)
    with pytest.raises(OutputError, match="changed since"):
        write(cells, target)


def test_two_runs_at_once(cells: Path, tmp_path: Path) -> None:
    class Second(FakeModel):
        def __call__(self, start: int) -> Iterator[Description]:
            with pytest.raises(OutputError, match="another run"):
                write(cells, tmp_path / "out.jsonl")
            yield from super().__call__(start)

    write(cells, tmp_path / "out.jsonl", Second())


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
