"""Jobs of cells of another species: as the command takes them, by a table that may be read here."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cell_libraries import needs_anndata
from serve_cells import GENES, anndata_of, counts
from serve_jobs import OPTIONS, MakeJobs, finish, lines_of, send

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.serve.jobs.errors import PathRefusedError
from c2t.runtime.serve.jobs.state import Reading
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import CellFileError

pytestmark = needs_anndata
MOUSE = [gene.replace("ENSG", "ENSMUSG") for gene in GENES]


@pytest.fixture
def mice(tmp_path: Path) -> Path:
    data = anndata_of(counts(6))
    data.var_names = MOUSE
    data.write_h5ad(tmp_path / "mice.h5ad")
    return tmp_path / "mice.h5ad"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    pairs = [("mouse", "human"), *zip(MOUSE, GENES, strict=True)]
    (folder / "mouse.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    return folder / "mouse.tsv"


def test_cells_of_a_job_go_through_a_table_as_the_command_has_them(
    make_jobs: MakeJobs, room: EngineRoom, mice: Path, table: Path, tmp_path: Path
) -> None:
    jobs = make_jobs(allowed=(table.parent,))
    reading = Reading(species="mouse", orthologues=str(table))
    job = finish(jobs, send(jobs, mice, reading=reading))
    assert job.state == "done", job.problem
    (said,) = [words for words in job.warnings if "orthologues of" in words]
    assert "mouse.tsv" in said
    assert str(table.parent) not in said
    options = DescribeFileOptions(
        cells=mice,
        output=tmp_path / "out.jsonl",
        reading=CellOptions(species="mouse", orthologues=str(table)),
        describing=OPTIONS,
    )
    describe_file(room.model.bundle, options, stream=io.BytesIO(), report=lambda said: None)
    assert lines_of(jobs, job) == (tmp_path / "out.jsonl").read_bytes()
    with jobs.cells(job.id).open() as reader:  # as a question about one of them opens it
        assert reader.options.species == "mouse"


def test_without_a_table_mouse_cells_are_refused(make_jobs: MakeJobs, mice: Path) -> None:
    jobs = make_jobs()
    job = finish(jobs, send(jobs, mice))
    assert job.state == "failed"
    assert "mouse" in str(job.problem)


def test_a_table_elsewhere_is_not_opened(make_jobs: MakeJobs, mice: Path, table: Path) -> None:
    jobs = make_jobs(allowed=(table.parent,))
    other = table.parent.parent / "other.tsv"
    other.write_bytes(table.read_bytes())
    link = table.parent / "link.tsv"
    link.symlink_to(other)
    for path in (other, link, table.parent / "none.tsv"):
        with pytest.raises(PathRefusedError, match="the table of orthologues: ") as caught:
            send(jobs, mice, reading=Reading(species="mouse", orthologues=str(path)))
        assert "--allow-folder" in caught.value.hint
    with pytest.raises(CellFileError, match="not of which species"):
        send(jobs, mice, reading=Reading(orthologues=str(table)))


def test_a_table_that_is_none_is_named_without_its_place(
    make_jobs: MakeJobs, mice: Path, table: Path
) -> None:
    table.write_text("nothing\n")
    jobs = make_jobs(allowed=(table.parent,))
    job = finish(jobs, send(jobs, mice, reading=Reading(species="mouse", orthologues=str(table))))
    assert job.state == "failed"
    assert "mouse.tsv" in str(job.problem)
    assert str(table.parent.parent) not in f"{job.problem} {job.hint}"
