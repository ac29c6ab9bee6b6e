"""A folder of parts: what is in it, interruption at any cell, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from fake_descriptions import FakeModel, N, make_run, write

from c2t.runtime.output.parquet import read_parquet
from c2t.runtime.output.parts.manifest import check_parts, read_manifest
from c2t.runtime.output.parts.progress import PROGRESS, PartsProgress
from c2t.runtime.output.parts.write import describe_to_parts, plan_folder
from c2t.runtime.output.record import Record
from c2t.runtime.output.write import DescribeInterrupted
from c2t.runtime.system.errors import OutputError

pytest.importorskip("pyarrow")
PART = 5  # cells of a part: 12 cells make parts of 5, 5 and 2


def write_parts(cells: Path, folder: Path, model: FakeModel | None = None, **options: Any) -> Any:
    run = make_run(cells)
    return describe_to_parts(run, folder, model or FakeModel(), part_cells=PART, **options)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_parts_hold_all_cells_and_the_manifest_says_so(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    summary = write_parts(cells, folder)
    assert (summary.cells, summary.failed, summary.error) == (N, 1, "no counts")
    assert summary.outputs == (str(folder / "manifest.json"),)
    manifest = check_parts(folder)
    assert [(part.first, part.rows) for part in manifest.parts] == [(0, 5), (5, 5), (10, 2)]
    assert contents(folder).keys() == {"manifest.json", *(part.file for part in manifest.parts)}
    assert manifest.bundle_sha256 == "b" * 64
    assert manifest.settings == {"beams": "1"}
    assert (manifest.rows, manifest.failed) == (N, 1)
    found = [r for part in manifest.parts for r in read_parquet(folder / part.file, part.first)]
    write(cells, tmp_path / "one.parquet")
    assert found == list(read_parquet(tmp_path / "one.parquet"))
    assert [record.row for record in found] == list(range(N))


@pytest.mark.parametrize("at", [1, 4, 5, 6, 10, 11])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_files(
    cells: Path, tmp_path: Path, at: int
) -> None:
    folder, whole = tmp_path / "out.parts", tmp_path / "whole.parts"
    write_parts(cells, whole)
    with pytest.raises(DescribeInterrupted) as stopped:
        write_parts(cells, folder, FakeModel(at=at))
    assert stopped.value.done == at
    assert not (folder / "manifest.json").exists()
    assert plan_folder(cells, folder) == folder
    kept: list[Record] = []
    model = FakeModel()
    summary = write_parts(cells, folder, model, kept=kept.extend)
    assert (summary.resumed, model.seen) == (at, list(range(at, N)))
    assert [record.cell for record in kept] == [f"cell{n}" for n in range(at)]
    assert contents(folder) == contents(whole)


def test_a_line_that_was_cut_off_is_not_believed(cells: Path, tmp_path: Path) -> None:
    folder, whole = tmp_path / "out.parts", tmp_path / "whole.parts"
    write_parts(cells, whole)
    with pytest.raises(DescribeInterrupted):
        write_parts(cells, folder, FakeModel(at=6))
    progress = folder / PROGRESS
    lines = progress.read_bytes().splitlines(keepends=True)
    progress.write_bytes(lines[0] + lines[1][:20])
    model = FakeModel()
    write_parts(cells, folder, model)
    assert model.seen == list(range(N))
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("step", ["append", "remove"])
def test_stopped_after_a_part_or_the_manifest(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A part is in place and its line is not; the manifest is, and the lines are still there."""
    folder, whole = tmp_path / "out.parts", tmp_path / "whole.parts"
    write_parts(cells, whole)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartsProgress, step, stop)
        with pytest.raises(KeyboardInterrupt):
            write_parts(cells, folder)
    assert (folder / "manifest.json").exists() == (step == "remove")
    assert plan_folder(cells, folder) == folder
    model = FakeModel()
    summary = write_parts(cells, folder, model)
    assert summary.resumed == {"append": PART, "remove": N}[step]
    assert model.seen == list(range(summary.resumed, N))
    assert contents(folder) == contents(whole)


def test_an_interruption_before_the_first_cell_leaves_nothing(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    with pytest.raises(DescribeInterrupted):
        write_parts(cells, folder, FakeModel(at=0))
    assert list(tmp_path.glob("out.parts/*")) == []


def test_a_changed_part_is_found(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    with pytest.raises(DescribeInterrupted):
        write_parts(cells, folder, FakeModel(at=6))
    part = folder / "part-00000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(OutputError, match=r"part-00000\.parquet is not as it was written"):
        write_parts(cells, folder)
    part.write_bytes(content)
    write_parts(cells, folder)
    (folder / "part-00001.parquet").unlink()
    with pytest.raises(OutputError, match=r"part-00001.parquet cannot be read"):
        check_parts(folder)


def test_another_run_is_refused_and_restart_forgets_it(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    with pytest.raises(DescribeInterrupted):
        write_parts(cells, folder, FakeModel(at=6))
    other = make_run(cells, bundle="c" * 64)
    with pytest.raises(OutputError, match="was left by another run, which differs in: bundle"):
        describe_to_parts(other, folder, FakeModel(), part_cells=PART)
    model = FakeModel()
    describe_to_parts(other, folder, model, part_cells=PART, restart=True)
    assert model.seen == list(range(N))
    assert read_manifest(folder).bundle_sha256 == "c" * 64


def test_what_must_not_be_written(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    write_parts(cells, folder)
    with pytest.raises(OutputError, match="exists already"):
        plan_folder(cells, folder)
    assert plan_folder(cells, folder, force=True) == folder
    write_parts(cells, folder)  # replaces it
    check_parts(folder)
    mine = tmp_path / "mine.parts"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="exists already"):
        plan_folder(cells, mine)
    with pytest.raises(OutputError, match=r"holds no manifest\.json"):
        plan_folder(cells, mine, force=True)


def test_a_folder_in_use(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"

    def again(total: int, done: int) -> Any:
        with pytest.raises(OutputError, match="another run is writing"):
            write_parts(cells, folder)
        raise KeyboardInterrupt

    with pytest.raises(DescribeInterrupted):
        write_parts(cells, folder, advance=again)
